// A job as it comes over HTTP: parsed and, where that succeeds, written and read again.

#include "ebb/model/job.h"
#include "ebb/model/json.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ebb::model::JobRequest;
  const auto request = ebb::model::from_json_text<JobRequest>(ebb::fuzz::text(data, size));
  if (!request) return 0;
  const std::string written = ebb::model::json_text(*request);
  // Without the limits on a request's size: escapes may make the text longer than it was.
  const auto again = ebb::model::from_json_text<JobRequest>(written, {.bytes = std::size_t{16} << 20});
  ebb::fuzz::must(again.ok());
  ebb::fuzz::must(ebb::model::json_text(*again) == written);
  return 0;
}
