#pragma once

#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/launch.h"

namespace ebb::process {

/// Whether this machine gives one thing, found by doing it.
struct Capability {
  bool available = false;
  std::string why_not;     ///< empty where available
  std::string what_to_do;  ///< likewise; may be empty where nothing helps
};

/// What this machine gives to a daemon with this state folder. Shown by `ebb doctor`; decides LaunchSpec's
/// tiers.
struct Containment {
  Capability cgroup;
  std::string cgroup_base;  ///< the daemon's base group; exists when cgroup.available
  std::string cgroup_root;  ///< for LaunchSpec::cgroup_root; set also where no group can be made
  Capability pidns;
  bool user_namespace = false;  ///< pidns needs one, since this process is not root
  Capability subreaper;
  Capability memory;
  LimitMechanism memory_mechanism = LimitMechanism::none;
  std::string memory_base;  ///< cgroup1: where keepers make attempts' groups
  Capability processes;
  LimitMechanism processes_mechanism = LimitMechanism::none;
  std::string processes_base;

  [[nodiscard]] Tiers tiers() const;
};

struct ContainmentOptions {
  std::string state_dir;
  /// Move this process into `<base>/daemon` where controllers can be had only so. Off for `ebb doctor`.
  bool may_move = true;
};

/// Tries everything out, in a few milliseconds; makes the base group and leaves nothing else behind. Call it
/// once, at start. Fails only where not even tier 3 is there.
[[nodiscard]] Result<Containment> probe_containment(const ContainmentOptions& options);

/// Removes the base groups as far as they are empty: at the daemon's end, when no keeper is left. The daemon
/// itself must not be in one of them any more.
void remove_bases(const Containment& containment);

/// Fills in `spec` what follows from the machine: tiers, cgroup paths (made of `base/label`; not yet
/// created), mechanisms of the limits. `memory_bytes` and `max_processes` 0: no limit.
void contain(LaunchSpec& spec, const Containment& containment, std::uint64_t memory_bytes,
             std::uint64_t max_processes);

}  // namespace ebb::process
