#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "ebb/process/end_record.h"

namespace ebb::process {

// Finding and signalling processes where no cgroup and no namespace does it (tier 3), by ancestry: the keeper
// is a subreaper, so all that the leader ever started descends from it.

struct Descendant : Survivor {
  std::uint64_t start_time = 0;
};
/// Live descendants of this process, a subreaper: that they stay until they are gone.
[[nodiscard]] std::vector<Descendant> descendants();
/// Sends the signals, in their order, to each that is not gone. A process that took over a number meanwhile
/// is never signalled.
void signal_descendants(const std::vector<Descendant>& processes, std::initializer_list<int> signals);

}  // namespace ebb::process
