#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/result.h"

namespace ebb::client {

/// One server-sent event.
struct ServerEvent {
  std::string name = "message";
  std::string id;  ///< empty: the event has none
  std::string data;
  bool operator==(const ServerEvent&) const = default;
};

/// Takes server-sent events out of a stream of bytes that arrives in pieces of any size.
class SseParser {
 public:
  static constexpr std::size_t kLargestEvent = 4 << 20;

  void feed(std::string_view bytes) { buffer_ += bytes; }
  /// The next whole event, nothing while it has not all arrived, or Errc::too_large (which is final).
  /// Comments, fields that are not known and events without data or name are passed over.
  [[nodiscard]] Result<std::optional<ServerEvent>> next();

 private:
  [[nodiscard]] std::optional<std::string_view> take_line();
  void add_field(std::string_view line);

  std::string buffer_;
  std::size_t taken_ = 0;
  ServerEvent event_;
  bool any_ = false;  ///< a name or data of event_ has arrived
};

}  // namespace ebb::client
