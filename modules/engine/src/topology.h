#pragma once

#include <vector>

#include "ebb/engine/types.h"

namespace ebb::engine {

/// Which `count` of the free GPUs to take, by position in `machine.gpus`, ascending; `free` (ascending) has
/// at least that many. In this order of weight: most NVLink among them; fewest NUMA nodes; least torn from
/// the free ones that remain (links cut, then NUMA nodes broken into), so that the next big job finds a whole
/// island; lowest numbers.
///
/// Exact up to some thousands of choices (8 GPUs have at most 70), beyond that grown greedily from each GPU.
[[nodiscard]] std::vector<int> choose_gpus(const Machine& machine, const std::vector<int>& free, int count);

}  // namespace ebb::engine
