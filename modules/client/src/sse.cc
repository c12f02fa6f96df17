#include "ebb/client/sse.h"

#include <utility>

namespace ebb::client {

std::optional<std::string_view> SseParser::take_line() {
  const auto end = buffer_.find('\n', taken_);
  if (end == std::string::npos) {
    buffer_.erase(0, taken_);
    taken_ = 0;
    return std::nullopt;
  }
  auto line = std::string_view(buffer_).substr(taken_, end - taken_);
  taken_ = end + 1;
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

void SseParser::add_field(std::string_view line) {
  const auto colon = line.find(':');
  const auto name = line.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "event") {
    event_.name = value;
    any_ = true;
  } else if (name == "data") {
    if (!event_.data.empty()) event_.data += '\n';
    event_.data += value;
    any_ = true;
  } else if (name == "id") {
    event_.id = value;
  }
}

Result<std::optional<ServerEvent>> SseParser::next() {
  while (const auto line = take_line()) {
    if (line->empty()) {
      ServerEvent event = std::exchange(event_, {});
      if (std::exchange(any_, false)) return std::optional(std::move(event));
    } else if (!line->starts_with(':')) {
      add_field(*line);
    }
    if (event_.data.size() > kLargestEvent) break;
  }
  if (buffer_.size() > kLargestEvent || event_.data.size() > kLargestEvent) {
    return Error{.code = Errc::too_large,
                 .message = "the server sent an event of more than 4 MiB",
                 .pointer = {},
                 .type = {}};
  }
  return std::optional<ServerEvent>();
}

}  // namespace ebb::client
