#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb::process {

// Control groups, as paths in the file system. A group is made fresh for each attempt and never used again:
// after cgroup.kill a process started into it dies, however much later.

/// Where the hierarchies are mounted and where this process stands in them.
struct CgroupMounts {
  struct Hierarchy {
    std::string mount;  ///< mount point
    std::string own;    ///< this process's group, as a path below `mount`
  };
  std::optional<Hierarchy> unified;  ///< cgroup v2, at /sys/fs/cgroup or in a hybrid hierarchy
  std::optional<Hierarchy> memory_v1;
  std::optional<Hierarchy> pids_v1;
  std::string root;  ///< common mount point of all of them, empty where there are none
};
/// From the text of /proc/self/mountinfo and /proc/self/cgroup.
[[nodiscard]] CgroupMounts parse_cgroup_mounts(std::string_view mountinfo, std::string_view own);
[[nodiscard]] Result<CgroupMounts> find_cgroup_mounts();

/// "ebb-" and eight hex digits of a hash of the state folder: the name of a daemon's base group, the same at
/// each start, different for two daemons.
[[nodiscard]] std::string cgroup_base_name(std::string_view state_dir);

/// Makes `path` (its parent must exist). Errc::conflict where it is there already.
[[nodiscard]] Result<void> make_cgroup(const std::string& path);
/// Makes an attempt's group `path` with its children `keeper` and `job`.
[[nodiscard]] Result<void> make_attempt_cgroup(const std::string& path);
/// Removes `path` and all groups below it; not there: success. Where the kernel says EBUSY it waits for the
/// next `populated` event, until `deadline`; Errc::timeout then.
[[nodiscard]] Result<void> remove_cgroup(const std::string& path, BootTime deadline);
/// SIGKILL to every process in `path` and below, at once (cgroup.kill). Not there: success.
[[nodiscard]] Result<void> kill_cgroup(const std::string& path);
/// Calls `visit` with the path of each group below `path`, those deepest first, until it says false. Groups
/// may come and go meanwhile; one that cannot be looked into is left out, and the error names the first such.
[[nodiscard]] Result<void> for_each_cgroup_below(const std::string& path,
                                                 const std::function<bool(const std::string& path)>& visit);
/// Pids in `path` itself and below, zombies too.
[[nodiscard]] Result<std::vector<pid_t>> cgroup_processes(const std::string& path);
/// The kernel's id of the group (its inode), as sock_diag reports it for sockets; 0 where it is gone.
[[nodiscard]] std::uint64_t cgroup_id(const std::string& path) noexcept;
/// Writes one control file of a group.
[[nodiscard]] Result<void> write_cgroup(const std::string& path, std::string_view file,
                                        std::string_view value);

/// Tells when a group and all below it hold no process any more. Poll fd() for POLLPRI, then ask populated()
/// again.
class CgroupEvents {
 public:
  [[nodiscard]] static Result<CgroupEvents> open(const std::string& path);
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// A removed group is not populated.
  [[nodiscard]] bool populated() const noexcept;
  [[nodiscard]] bool frozen() const noexcept;
  /// Blocks until it is empty; false at the deadline.
  [[nodiscard]] bool wait_empty(BootTime deadline) const noexcept;

 private:
  UniqueFd fd_;
};

}  // namespace ebb::process
