#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/base/result.h"

namespace ebb::model {

/// Where a job stands. Names are those of the API.
enum class JobState {
  queued,     ///< waits for what it asked for
  starting,   ///< leases taken and recorded; its process is being started, or is not ready yet
  running,    ///< started, and ready where readiness was asked for
  releasing,  ///< was asked to stop, or has ended; what it holds is being given back and verified
  completed,
  failed,
  cancelled,
};
[[nodiscard]] constexpr bool is_terminal(JobState state) { return state >= JobState::completed; }

/// Why an attempt, or a job that never had one, ended. docs/lifecycle.md says what leads to which.
enum class StopKind {
  completed,
  failed,
  start_failed,
  timeout,
  oom,
  cancelled,
  owner_lost,
  preempted,
  daemon_stopped,
  dependency_failed,
  keeper_lost,
  reboot,
};
/// The terminal state that an end of this kind leads to.
[[nodiscard]] JobState terminal_state(StopKind kind);

struct StopReason {
  StopKind kind = StopKind::completed;
  std::optional<std::string> by;      ///< "owner", "admin alice", "daemon", …
  std::optional<std::string> detail;  ///< "SIGINT", "exit code 3", the cause of a failed start, …
  bool operator==(const StopReason&) const = default;
};

/// How the leader ended; both empty where it never ran or nobody could learn it.
struct Exit {
  std::optional<int> code;
  std::optional<int> signal;
  bool operator==(const Exit&) const = default;
};
/// How the detail of a start_failed reason begins where the command is not there or cannot be executed.
inline constexpr std::string_view kCommandNotFound = "command not found";
inline constexpr std::string_view kNotExecutable = "not executable";
/// What `ebb run` and `ebb wait` exit with for a job that ended so. Of a failed start, `exit.code` 126 or 127
/// or the beginning of `detail` tells not executable and not found from the rest.
[[nodiscard]] int exit_status(StopKind kind, const Exit& exit, const std::optional<std::string>& detail);

/// The job serves HTTP on its first leased port and is running only when GET `path` answers 200.
struct Ready {
  std::string path;
  std::optional<double> timeout_s;
  bool operator==(const Ready&) const = default;
};

/// The job lives only as long as its owner, the client that submitted it.
struct OwnerRequest {
  std::optional<double> lease_s;
  bool operator==(const OwnerRequest&) const = default;
};

/// The body of POST /v1/jobs, and `spec` in answers: an absent or null field means the default, or in an
/// answer that it is not shown to the one who asks.
struct JobRequest {
  std::optional<std::vector<std::string>> command;
  std::optional<std::int64_t> gpus;
  std::optional<std::vector<std::int64_t>> gpu_ids;
  std::optional<std::int64_t> ports;
  std::optional<double> cpus;
  std::optional<std::int64_t> memory_bytes;
  std::optional<double> time_s;
  std::optional<double> grace_s;
  std::optional<std::int64_t> priority;
  std::optional<std::string> name;
  std::optional<std::string> group;
  std::optional<std::map<std::string, std::string>> env;
  std::optional<bool> clean_env;
  std::optional<std::string> workdir;
  std::optional<Ready> ready;
  std::optional<OwnerRequest> owner;
  std::optional<std::int64_t> log_limit_bytes;
  std::optional<bool> share_ipc;
  std::optional<bool> expand;
  bool operator==(const JobRequest&) const = default;
};

/// A job as it will be executed: defaults filled in, ranges checked.
struct JobSpec {
  struct ReadyCheck {
    std::string path;
    Duration timeout{};
    bool operator==(const ReadyCheck&) const = default;
  };
  std::vector<std::string> command;
  int gpus = 0;
  std::vector<int> gpu_ids;  ///< exactly these, ascending; empty: any `gpus` of them
  int ports = 0;
  double cpus = 1;
  std::optional<std::int64_t> memory_bytes;
  std::optional<Duration> time;
  Duration grace{};
  int priority = 0;  ///< −1000 … 1000; higher goes first
  std::string name;
  std::string group;
  std::map<std::string, std::string> env;  ///< over what the submitter's environment gives
  bool clean_env = false;
  std::optional<std::string> workdir;
  std::optional<ReadyCheck> ready;
  std::optional<Duration> owner_lease;  ///< set: the job is attached
  std::int64_t log_limit_bytes = 0;
  bool share_ipc = false;
  bool expand = true;
  bool operator==(const JobSpec&) const = default;
};

/// The values of [defaults] in the configuration.
struct JobDefaults {
  int gpus = 0;
  int ports = 0;
  double cpus = 1;
  std::optional<std::int64_t> memory_bytes;
  std::optional<Duration> time;
  Duration grace = std::chrono::seconds(10);
  int priority = 0;
  Duration ready_timeout = std::chrono::seconds(60);
  Duration owner_lease = std::chrono::seconds(15);
  std::int64_t log_limit_bytes = std::int64_t{1} << 30;
  bool share_ipc = false;
  bool clean_env = false;
};

/// Fills in defaults and checks every range that does not depend on the machine; the error points at the
/// field. What depends on the machine (GPUs that exist, ports of the range) the engine checks.
[[nodiscard]] Result<JobSpec> resolve(const JobRequest& request, const JobDefaults& defaults);
/// What to say of a command that is a single word with spaces and no file: the check needs the file system,
/// so it is the daemon's, and the client's before it asks.
[[nodiscard]] Error quoted_command_error(std::string_view word);
/// The spec as answers show it; `full` for those who may see command and environment, else resources only.
[[nodiscard]] JobRequest describe(const JobSpec& spec, bool full);

struct OwnerView {
  double lease_s = 0;
  bool connected = false;
  bool operator==(const OwnerView&) const = default;
};

/// A job as GET /v1/jobs/{id} shows it. Fields that do not apply are empty and shown as null.
struct Job {
  JobId id;
  std::optional<std::string> name;
  std::string user;
  JobState state = JobState::queued;
  std::optional<StopReason> reason;
  JobRequest spec;
  std::vector<int> gpu_ids;
  std::vector<int> ports;
  std::optional<std::string> server_url;
  std::optional<int> pid;
  int attempt = 0;
  WallTime submitted_at{};
  std::optional<WallTime> started_at;
  std::optional<WallTime> ended_at;
  Exit exit;
  std::optional<std::int64_t> position;  ///< from 1, while queued
  std::optional<std::string> why;        ///< while queued: what it waits for, in words
  std::optional<OwnerView> owner;
  std::optional<std::string> tier;
  std::optional<bool> memory_enforced;  ///< of a live job with `memory_bytes`: or it is only counted
};

struct JobList {
  std::vector<Job> items;
  std::optional<std::string> next_cursor;
};

}  // namespace ebb::model
