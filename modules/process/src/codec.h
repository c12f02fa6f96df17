#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/process/end_record.h"
#include "ebb/process/wire.h"

// Parts that several of the wire formats have in common.
namespace ebb::process {

inline void put(WireWriter& out, Duration value) { out.signed_number(value.count()); }
inline Duration get_duration(WireReader& in) { return Duration(in.signed_number()); }

inline void put(WireWriter& out, const Moment& moment) {
  put(out, moment.boot.time_since_epoch());
  put(out, moment.wall.time_since_epoch());
}
inline Moment get_moment(WireReader& in) {
  const BootTime boot{get_duration(in)};
  return {.boot = boot, .wall = WallTime{get_duration(in)}};
}

template <typename T>
void put_optional(WireWriter& out, const std::optional<T>& value) {
  out.optional(value, [&](const T& there) { put(out, there); });
}
inline std::optional<Moment> get_optional_moment(WireReader& in) {
  return in.optional([&] { return get_moment(in); });
}

inline void put(WireWriter& out, const std::vector<std::string>& strings) {
  out.number(strings.size());
  for (const std::string& text : strings) out.bytes(text);
}
inline std::vector<std::string> get_strings(WireReader& in, std::uint64_t most, std::uint64_t longest) {
  const std::size_t count = in.count(most);
  std::vector<std::string> strings;
  strings.reserve(count);
  for (std::size_t i = 0; i < count && in.ok(); ++i) strings.emplace_back(in.bytes(longest));
  return strings;
}

inline Error wire_error(Errc code, std::string message) {
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

}  // namespace ebb::process
