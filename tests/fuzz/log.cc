// A log's index after any crash: what is read of it is in order and never more than there is.

#include "ebb/process/log_format.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = ebb::fuzz::text(data, size);
  (void)ebb::process::parse_log_index_name(bytes);
  const auto index = ebb::process::parse_log_index(bytes);
  if (!index) return 0;
  ebb::fuzz::must((index->records.size() + 1) * ebb::process::kLogRecordSize <= size);
  return 0;
}
