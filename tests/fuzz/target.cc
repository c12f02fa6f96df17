// What a stranger writes into a request besides its body: path, query and headers; and bodies by the
// original's rules, which are laxer than ours.

#include <algorithm>

#include "compat.h"
#include "ebb/base/text.h"
#include "message.h"
#include "parameters.h"
#include "property.h"

namespace {

using ebb::server::Request;

void read_parameters(const Request& request) {
  for (const std::string_view name : {"wait", "limit", "follow"}) {
    if (const auto value = ebb::server::duration_parameter(request, name, {})) {
      ebb::fuzz::must(value->count() >= 0);
    }
    if (const auto value = ebb::server::integer_parameter(request, name, 1, 0, 1000)) {
      ebb::fuzz::must(*value >= 0 && *value <= 1000);
    }
    (void)ebb::server::flag_parameter(request, name);
  }
}

void read_fields(const Request& request) {
  using ebb::server::compat::Fields;
  if (const auto refusal = ebb::server::compat::unparsable(request)) {
    ebb::fuzz::must(refusal->status == (ebb::is_utf8(request.body) ? 422 : 400));
    return;
  }
  Fields fields(request);
  for (const std::string_view name : {"a", "num_gpus"}) {
    (void)fields.integer(name);
    (void)fields.number(name);
    (void)fields.boolean(name);
    (void)fields.text(name);
    (void)fields.object(name);
  }
  if (const auto refusal = fields.errors()) ebb::fuzz::must(ebb::is_utf8(refusal->body));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = ebb::fuzz::text(data, size);
  const std::size_t line = std::min(text.find('\n'), size);
  Request request;
  if (auto target = ebb::server::parse_target(text.substr(0, line))) {
    for (const std::string& segment : target->segments) {
      ebb::fuzz::must(segment != ".." && segment.find('\0') == std::string::npos);
    }
    request.path["id"] = target->segments.empty() ? "" : target->segments.front();
    request.target = *std::move(target);
    if (const auto id = ebb::server::job_id(request)) ebb::fuzz::must(id->str() == request.path["id"]);
  }
  request.headers.emplace_back("accept", text.substr(0, line));
  (void)request.accepts("text/html");
  request.body = text.substr(std::min(line + 1, size));
  read_parameters(request);
  read_fields(request);
  return 0;
}
