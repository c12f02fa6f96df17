#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <vector>

#include "ebb/process/end_record.h"

namespace ebb::process {

// Finding and signalling processes where no cgroup and no namespace does it (tier 3), by ancestry: the keeper
// is a subreaper, so all that the leader ever started descends from it.

/// Live descendants of this process.
[[nodiscard]] std::vector<Survivor> descendants();
/// Sends the signals, in their order, to each of the pids that still has an ancestor in this process. A number
/// that another process took over meanwhile is never signalled.
void signal_descendants(const std::vector<Survivor>& processes, std::initializer_list<int> signals);

}  // namespace ebb::process
