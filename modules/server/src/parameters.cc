#include "parameters.h"

#include <charconv>

#include "ebb/base/text.h"
#include "ebb/base/units.h"

namespace ebb::server {

Error bad_parameter(std::string_view name, const std::string& message) {
  return Error{.code = Errc::invalid,
               .message = "query parameter '" + std::string(name) + "': " + message,
               .pointer = {},
               .type = {}};
}

Result<JobId> job_id(const Request& request) {
  const std::string& text = request.path.at("id");
  const auto id = JobId::parse(text);
  if (id) return *id;
  return Error{
      .code = Errc::not_found,
      .message = "'" + printable(text.substr(0, 64)) + "' is no job id; one has 8 lower-case hex digits",
      .pointer = {},
      .type = "no-such-job"};
}

Result<Duration> duration_parameter(const Request& request, std::string_view name, Duration otherwise) {
  const auto text = request.query(name);
  if (!text) return otherwise;
  auto value = parse_duration(*text);
  if (!value) return bad_parameter(name, value.error().message);
  return value;
}

Result<std::int64_t> integer_parameter(const Request& request, std::string_view name, std::int64_t otherwise,
                                       std::int64_t min, std::int64_t max) {
  const auto text = request.query(name);
  if (!text) return otherwise;
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (failure != std::errc() || end != text->data() + text->size() || value < min || value > max) {
    return bad_parameter(
        name, "an integer from " + std::to_string(min) + " to " + std::to_string(max) + " is needed");
  }
  return value;
}

Result<bool> flag_parameter(const Request& request, std::string_view name) {
  const auto text = request.query(name);
  if (!text || *text == "0" || *text == "false") return false;
  if (text->empty() || *text == "1" || *text == "true") return true;
  return bad_parameter(name, "1 or 0 is needed");
}

std::optional<std::string> text_parameter(const Request& request, std::string_view name) {
  const auto text = request.query(name);
  if (!text) return std::nullopt;
  return std::string(*text);
}

}  // namespace ebb::server
