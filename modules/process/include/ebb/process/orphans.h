#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace ebb::process {

/// For a daemon in tier 3 (subreaper alone) whose keeper died without ending its tree: kills every descendant
/// of this process that has all of `marks` ("EBB_ATTEMPT=7f3a91c2.1") in its environment, or shares a session
/// with one that has. This process must be a subreaper since before the keeper's start, or nothing came to
/// it. How many were killed; they are children of this process, which must reap them. In the other tiers
/// kill_cgroup() or the namespace's end does this.
std::size_t kill_orphans(std::span<const std::string> marks);

}  // namespace ebb::process
