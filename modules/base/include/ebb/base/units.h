#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"

namespace ebb {

/// Reads "10s", "1.5h", "500ms", "2min", "1d", or several parts ("1h30min"); a bare "0" needs no unit. Never
/// negative. Units: us ms s m min h d.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);
/// Reads "1MiB", "64 KiB", "2GB", "512" (bytes). Units: B, kB MB GB TB (powers of 1000), KiB MiB GiB TiB and
/// K M G T (powers of 1024).
[[nodiscard]] Result<std::int64_t> parse_size(std::string_view text);

/// For people: "41 ms", "2.5 s", "1 h 30 min".
[[nodiscard]] std::string format_duration(Duration duration);
/// For files that parse_duration() reads back exactly: "90s", "1500ms".
[[nodiscard]] std::string write_duration(Duration duration);
/// For people and parse_size(): "1 GiB", "512 B", "1.5 MiB".
[[nodiscard]] std::string format_size(std::int64_t bytes);

[[nodiscard]] inline Duration from_seconds(double seconds) {
  return Duration(static_cast<Duration::rep>(seconds * 1e6));
}
[[nodiscard]] inline double to_seconds(Duration duration) { return double(duration.count()) / 1e6; }
[[nodiscard]] inline double to_ms(Duration duration) { return double(duration.count()) / 1e3; }

}  // namespace ebb
