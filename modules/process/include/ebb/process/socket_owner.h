#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/listeners.h"
#include "ebb/base/result.h"

namespace ebb::process {

/// By what the sockets of one attempt are known.
struct AttemptTree {
  std::vector<std::uint64_t> cgroup_ids;  ///< of the attempt's cgroups (cgroup_ids_below)
  std::vector<pid_t> pids;                ///< processes known to be its own; used where cgroups do not decide
};

/// The ids (inodes) of a cgroup's folder and of all below it. Empty where it does not exist.
[[nodiscard]] std::vector<std::uint64_t> cgroup_ids_below(const std::string& folder);

/// Whether the listener belongs to the tree: its cgroup id decides where both sides have one, else its inode
/// is looked for among the descriptors of `pids`. A socket that a stranger handed over counts as the
/// stranger's by cgroup: it was made there.
[[nodiscard]] bool owns_listener(const AttemptTree& tree, const Listener& listener);

/// Who holds a socket, for an error message.
struct SocketHolder {
  pid_t pid = 0;     ///< 0 where no living process that we may look at holds it
  std::string comm;  ///< printable
  std::string user;  ///< the name of the socket's maker, or its uid in digits
};
/// Looks through the descriptors of every process that we may look at.
[[nodiscard]] SocketHolder find_holder(const Listener& listener);
/// "python3 (pid 4711) of alice", "a process of alice".
[[nodiscard]] std::string describe(const SocketHolder& holder);

/// The account's name, or the uid in digits.
[[nodiscard]] std::string user_name(uid_t uid);

}  // namespace ebb::process
