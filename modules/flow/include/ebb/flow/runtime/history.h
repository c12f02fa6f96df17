#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "ebb/base/clock.h"

namespace ebb::flow {

/// How a count has grown in the last hour: a point every five seconds of the last minutes, every minute of
/// the rest, noted at the borders of batches. One thread notes, any asks.
class History {
 public:
  static constexpr Duration kStep = std::chrono::seconds(5);

  /// What the count is, before more is done.
  void note(BootTime now, std::uint64_t count);
  /// How much it has grown in a second, on average over this time or since the first note, whichever is
  /// shorter.
  [[nodiscard]] double rate(BootTime now, std::uint64_t count, Duration over) const;

 private:
  struct Point {
    BootTime at;
    std::uint64_t count;
  };
  mutable std::mutex mutex_;
  std::vector<Point> minutes_, steps_;  // the former end where the latter begin
};

}  // namespace ebb::flow
