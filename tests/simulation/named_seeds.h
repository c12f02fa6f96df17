#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "simulation.h"

namespace ebb::simulation {

/// A history in which something was wrong once. A seed is a history of one model: where the model changes
/// (who asks for chance, and when), it is another one. README.md says what to do then.
struct NamedSeed {
  std::uint64_t seed = 0;
  Options options;
  std::string_view what;  ///< went wrong, and where it was mended
};

/// All that the simulator has found.
[[nodiscard]] const std::vector<NamedSeed>& named_seeds();

}  // namespace ebb::simulation
