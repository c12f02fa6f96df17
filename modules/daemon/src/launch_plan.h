#pragma once

#include <map>
#include <string>

#include "context.h"
#include "ebb/base/result.h"
#include "ebb/engine/types.h"
#include "ebb/process/launch.h"
#include "ebb/process/proc.h"
#include "ebb/store/rows.h"

namespace ebb::daemon {

/// What is known only when an attempt starts.
struct LaunchFacts {
  AttemptId id;
  engine::Leases leases;
  /// Variables that are never written down.
  std::map<std::string, std::string> secret_env;
};

/// All that the keeper of an attempt must know: the job as submitted, with its leases filled in.
[[nodiscard]] Result<process::LaunchSpec> plan_launch(const Context& context, const store::JobRow& job,
                                                      const LaunchFacts& facts);

/// Makes the attempt's folder, scratch (with the template's config file in it) and cgroup.
[[nodiscard]] Result<void> make_places(const Context& context, const store::JobRow& job, AttemptId id,
                                       const process::LaunchSpec& spec);

/// "0,1": what CUDA_VISIBLE_DEVICES says for these GPUs.
[[nodiscard]] std::string visible_devices(const Context& context, const std::vector<int>& gpus);

/// The soft limits that a job inherits, by their names in the database ("nofile").
[[nodiscard]] std::map<std::string, std::uint64_t> limits_by_name(
    const std::vector<process::ProcLimit>& limits);

/// Sets this process's own soft limits as a daemon needs them: as many descriptors as it may have, and no
/// core dump, since it would hold users' secrets. Returns those that it had, which jobs get that bring none
/// of their own.
[[nodiscard]] Result<std::map<std::string, std::uint64_t>> take_own_limits();

}  // namespace ebb::daemon
