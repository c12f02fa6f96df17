#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace ebb {

using Duration = std::chrono::microseconds;

/// Wall-clock time, UTC. For people and for files; it may jump, so nothing is decided by it.
using WallTime = std::chrono::sys_time<Duration>;

/// Time since boot that never goes back and counts suspend (CLOCK_BOOTTIME). Deadlines use this one. It is
/// comparable between processes of the same boot.
struct BootClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
  [[nodiscard]] static time_point now() noexcept;
};
using BootTime = BootClock::time_point;

/// Where a component takes its time from, so that tests and the simulator can set it.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual WallTime wall() const = 0;
  [[nodiscard]] virtual BootTime boot() const = 0;
};

/// The machine's clocks. Any thread.
[[nodiscard]] const Clock& system_clock() noexcept;

/// "2026-11-23T22:59:38.222226Z": RFC 3339, UTC, always six decimals.
[[nodiscard]] std::string format_time(WallTime time);
/// Reads RFC 3339 with any zone and 0 to 9 decimals (cut to microseconds); nothing else.
[[nodiscard]] std::optional<WallTime> parse_time(std::string_view text);

/// The kernel's id of this boot (36 characters), read once; empty where /proc does not tell.
[[nodiscard]] const std::string& boot_id();

}  // namespace ebb
