#pragma once

#include <sys/types.h>

#include <vector>

#include "ebb/process/end_record.h"

namespace ebb::process {

// Finding and signalling processes where no cgroup and no namespace does it (tier 3), by ancestry: the keeper
// is a subreaper, so all that the leader ever started descends from it.

/// Live descendants of this process.
[[nodiscard]] std::vector<Survivor> descendants();
/// Sends `signal` to each of the pids that still has an ancestor in this process. A number that another
/// process took over meanwhile is never signalled.
void signal_descendants(const std::vector<Survivor>& processes, int signal);

}  // namespace ebb::process
