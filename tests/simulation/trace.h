#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "scheduler.h"

namespace ebb::simulation {

/// What a run leaves to compare and to read: a hash of all that happened, and with `on` the story, line by
/// line, on stdout.
class Trace {
 public:
  explicit Trace(bool on) : on_(on) {}

  [[nodiscard]] bool on() const { return on_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

  void mix(std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15ULL;
    hash_ ^= hash_ >> 29U;
  }
  /// Only where on(): making the text costs more than all the rest.
  void say(Moment now, const std::string& text) const {
    if (on_) std::printf("%11.6f  %s\n", static_cast<double>(now.count()) / 1e6, text.c_str());
  }

 private:
  bool on_;
  std::uint64_t hash_ = 0x2545f4914f6cdd1dULL;
};

}  // namespace ebb::simulation
