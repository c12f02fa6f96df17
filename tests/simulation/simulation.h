#pragma once

#include <cstdint>
#include <string>

#include "plan.h"

namespace ebb::simulation {

struct Outcome {
  std::string violation;     ///< empty: none
  std::uint64_t events = 0;  ///< that the engine was told
  std::uint64_t hash = 0;    ///< of everything that happened: the same seed and options, the same hash
};

/// Plays one history. Nothing is shared between calls.
[[nodiscard]] Outcome simulate(std::uint64_t seed, const Options& options);

/// Which faults and how many jobs a failing seed needs at the least: what can be left out, one after the
/// other, while something is still wrong.
[[nodiscard]] Options shrink(std::uint64_t seed, Options options);

/// The command that plays it again.
[[nodiscard]] std::string command_for(std::uint64_t seed, const Options& options);

}  // namespace ebb::simulation
