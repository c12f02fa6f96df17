#pragma once

#include "ebb/base/result.h"
#include "ebb/process/launch.h"

namespace ebb::process {

/// Called by the first process of new namespaces: maps the one uid and gid of a user namespace, where there
/// is one, then arranges the mounts.
[[nodiscard]] Result<void> prepare_namespaces(const LaunchSpec& spec, uid_t uid, gid_t gid);
/// Writes a file of /proc or /sys in one write.
[[nodiscard]] Result<void> write_text(const char* path, const std::string& text);

/// Called in the new mount namespace of an attempt, by its init: own /proc, private /dev/shm, read-only
/// cgroup file systems, hidden folders, masked devices, as `spec` says. Nothing of it reaches the host.
[[nodiscard]] Result<void> arrange_mounts(const LaunchSpec& spec);

}  // namespace ebb::process
