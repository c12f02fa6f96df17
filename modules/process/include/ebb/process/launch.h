#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"

namespace ebb::process {

/// The containment in use for one attempt; they add up. reference: docs/containment in
/// docs/formats/keeper.md.
struct Tiers {
  bool cgroup = false;     ///< a fresh cgroup v2 of its own: everything in it can be killed at once
  bool pidns = false;      ///< PID, mount (and IPC) namespaces: the kernel ends the tree with its init
  bool subreaper = false;  ///< orphans come to the keeper; used alone where neither of the others is there

  bool operator==(const Tiers&) const = default;
};
/// "cgroup+pidns", "subreaper", …: what stands in a report.
[[nodiscard]] std::string tier_text(Tiers tiers);

/// By what a limit is enforced.
enum class LimitMechanism : std::uint8_t {
  none = 0,
  cgroup2 = 1,  ///< a controller of the unified hierarchy, in the attempt's own cgroup
  cgroup1 = 2,  ///< a fresh group in the controller's v1 hierarchy (root only)
  pid_max = 3,  ///< kernel.pid_max of the PID namespace (processes only)
};

/// One limit of an attempt; `value` 0 means none. `cgroup1` is the path of the group to make, for that
/// mechanism.
struct Limit {
  std::uint64_t value = 0;
  LimitMechanism mechanism = LimitMechanism::none;
  std::string cgroup1;
};

/// Whom the leader becomes. Only a keeper that runs as root can set it; without it the keeper's own identity
/// stays.
struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

/// A soft limit, as for setrlimit(2); the hard limit stays, and a soft one above it is lowered to it.
struct ResourceLimit {
  int resource = 0;
  std::uint64_t soft = 0;
};

/// Everything that a keeper needs to know to run one attempt, or one side process of a client. Plain data; it
/// reaches the keeper through a memfd. All paths are absolute.
struct LaunchSpec {
  static constexpr std::uint64_t kVersion = 1;
  static constexpr std::size_t kMaxStrings = 1 << 20;  ///< arguments, and likewise variables
  static constexpr std::size_t kMaxBytes = 64 << 20;   ///< of the encoded spec
  static constexpr std::size_t kMaxPaths = 4096;       ///< hidden, reachable, masked: each
  static constexpr std::size_t kMaxGroups = 65536;

  std::string label;              ///< the attempt's id ("7f3a91c2.1"), or a side process's name; shown by ps
  std::vector<std::string> argv;  ///< executed exactly; argv[0] is searched in the PATH of `env`
  std::vector<std::string> env;   ///< "K=V", all of it: nothing is inherited and nothing added
  std::string workdir;            ///< entered as the job's user
  std::optional<Identity> identity;
  mode_t umask = 022;
  std::vector<ResourceLimit> rlimits;
  int nice = 0;
  int oom_score_adj = 500;

  std::string attempt_dir;  ///< where `keeper.sock` and `end` are; must exist, and be closed to the job
  std::string log_dir;  ///< LogWriter's folder, made with the first byte; empty: output is read and dropped
  std::uint64_t log_limit_bytes = 0;

  Tiers tiers;
  bool user_namespace = false;    ///< the namespaces come with a user namespace (a keeper that is not root)
  std::string cgroup;             ///< the attempt's cgroup (see CgroupBase); must exist when tiers.cgroup
  std::string cgroup_root;        ///< mount point of all cgroup hierarchies, made read-only for the job
  Limit memory;                   ///< bytes
  Limit processes;                ///< processes and threads
  bool share_ipc = false;         ///< keep the host's /dev/shm and SysV IPC in place of private ones
  std::vector<std::string> hide;  ///< folders that are empty for the job (needs tiers.pidns)
  std::vector<std::string>
      reachable;  ///< sockets or folders inside hidden ones that stay; a link stays a link
  std::vector<std::string>
      mask_devices;  ///< device nodes that open(2) refuses with EACCES (needs tiers.pidns)

  std::optional<Duration> time_limit;  ///< from the leader's start
  Duration grace{};         ///< between TERM and kill when the keeper itself decides to end the tree
  Duration kill_timeout{};  ///< after the kill, until what is left is declared a survivor
  /// How long the tree lives on without a daemon, or with none that reads (5 s at least); nothing: for ever.
  /// The exit of an owner's process that was handed over (start_keeper) ends it at once without a daemon.
  std::optional<Duration> daemon_gone;
  /// Stay with the locks and the end record until a daemon acknowledges it. Without: until the last
  /// connection has gone (side processes, whose client is the only one that would ask).
  bool wait_for_ack = true;
};

[[nodiscard]] std::string encode(const LaunchSpec& spec);
/// Errc::corrupt for anything that encode() would not write; Errc::conflict for another version.
[[nodiscard]] Result<LaunchSpec> parse_launch_spec(std::string_view data);
/// Refuses what no keeper could carry out: relative paths, NUL bytes, no command, hidden folders without a
/// mount namespace, limits without their mechanism's means. Names the field.
[[nodiscard]] Result<void> check(const LaunchSpec& spec);

}  // namespace ebb::process
