#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/devices/gpu.h"
#include "ebb/model/report.h"

namespace ebb::devices {

/// The memory that a GPU has in use when nobody uses it, by UUID and driver version. The caller persists it:
/// write() after observe() returned true, parse() at the start.
class BaselineTable {
 public:
  static constexpr std::size_t kMaxEntries = 4096;

  [[nodiscard]] std::optional<std::int64_t> find(const std::string& uuid, const std::string& driver) const;
  /// Takes `mib` as the baseline, or lowers it; never raises one. Whether the table has changed.
  bool observe(const std::string& uuid, const std::string& driver, std::int64_t mib);

  /// "ebb-baselines 1", then a line "UUID<tab>driver<tab>MiB" for each entry.
  [[nodiscard]] std::string write() const;
  [[nodiscard]] static Result<BaselineTable> parse(std::string_view text);

 private:
  std::map<std::pair<std::string, std::string>, std::int64_t> mib_;
};

/// How a GPU is judged. The fields are [gpus] of the configuration.
struct GpuRules {
  std::int64_t free_memory_mib = 64;  ///< how much over the baseline still counts as free
  /// Processes whose use does not count: names as in /proc/PID/comm with * and ?, or pids in decimal.
  std::vector<std::string> ignore;
  bool compare_pids = true;  ///< false outside the initial PID namespace, where NVML's pids are not ours
};
/// Whether this process is in the initial PID namespace.
[[nodiscard]] bool in_initial_pid_namespace();
/// "Xorg", "gnome-*" against a name.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view name);

/// What is known of a process on a GPU besides what the driver tells.
struct ProcessFacts {
  enum class Life { alive, ended };  ///< ended: gone, or a zombie
  Life life = Life::alive;
  std::string user;  ///< of its uid; the number where it has no name
  std::string name;  ///< /proc/PID/comm
};
[[nodiscard]] ProcessFacts process_facts(pid_t pid);

enum class CheckPurpose {
  before_lease,  ///< is anything on it at all?
  at_release,    ///< is anything of this job left?
};

struct GpuVerdict {
  enum class Kind {
    free,     ///< nothing is on it, memory is at the baseline
    by_job,   ///< at_release: processes of the job, or memory that nobody else accounts for
    outside,  ///< somebody else uses it, and nothing of the job is left
    unknown,  ///< the driver did not answer
  };
  Kind kind = Kind::unknown;
  std::vector<pid_t> pids;                 ///< by_job: the job's, ascending; may be empty
  std::vector<model::OutsideUse> outside;  ///< outside: by whom; empty where only memory tells
  std::int64_t used_mib = 0;
  std::optional<std::int64_t> baseline_mib;
  /// How that was found, for `verified_by` and `why`: "nvml: 0 processes of the job, 3 MiB used, baseline 3".
  std::string text;
  bool baseline_changed = false;  ///< the table has to be persisted
};

/// Judges one look at a GPU; takes the baseline when no process is on it and the memory is believable for an
/// idle GPU. `belongs_to_job` may be empty (nobody's). `facts` is for tests; empty is process_facts.
[[nodiscard]] GpuVerdict judge(const GpuUsage& usage, CheckPurpose purpose, const GpuRules& rules,
                               BaselineTable& baselines, const std::function<bool(pid_t)>& belongs_to_job,
                               const std::function<ProcessFacts(pid_t)>& facts = {});
/// The verdict on a GPU whose driver did not answer.
[[nodiscard]] GpuVerdict unknown(const Error& error);
/// The verdict on a declared GPU, where holding its lock is all there is: free, "declared: lock".
[[nodiscard]] GpuVerdict declared_free();

}  // namespace ebb::devices
