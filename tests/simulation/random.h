#pragma once

#include <cstdint>

#include "ebb/base/clock.h"

namespace ebb::simulation {

/// Everything that a seed decides comes from one of these, in one order; so a seed is a whole history.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0xd1342543de82ef95ULL + 1) {}

  [[nodiscard]] std::uint64_t next() {  // splitmix64
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }
  [[nodiscard]] std::uint64_t below(std::uint64_t sides) { return next() % sides; }
  /// From `from` to `to`, both included.
  [[nodiscard]] int number(int from, int to) {
    return from + static_cast<int>(below(static_cast<std::uint64_t>(to - from) + 1));
  }
  [[nodiscard]] bool chance(std::uint64_t one_in) { return below(one_in) == 0; }
  [[nodiscard]] Duration between(Duration from, Duration to) {
    return from +
           Duration(static_cast<std::int64_t>(below(static_cast<std::uint64_t>((to - from).count()) + 1)));
  }

 private:
  std::uint64_t state_;
};

}  // namespace ebb::simulation
