#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/process/launch.h"

namespace ebb::process {

/// One moment on both clocks: BootTime to compute with, WallTime to show.
struct Moment {
  BootTime boot;
  WallTime wall;
  bool operator==(const Moment&) const = default;
};
[[nodiscard]] Moment moment_now() noexcept;

/// What made the keeper end the tree.
enum class EndCause : std::uint8_t {
  leader_exit = 0,    ///< the leader ended by itself
  start_failure = 1,  ///< the command never ran
  stop = 2,           ///< a daemon's Stop or Kill; its reason is in `stop_reason`
  time_limit = 3,
  daemon_gone = 4,   ///< no daemon for longer than LaunchSpec::daemon_gone
  owner_gone = 5,    ///< the owner's process exited while no daemon was connected
  keeper_ended = 6,  ///< the keeper got SIGTERM
};
[[nodiscard]] std::string_view end_cause_text(EndCause cause);

/// Why the command never ran, in words for its user. `exit_code`: 127 not found, 126 not executable, 125 the
/// rest.
struct StartFailure {
  int exit_code = 125;
  std::string message;
  bool operator==(const StartFailure&) const = default;
};

/// A process of the tree that outlived the kill for LaunchSpec::kill_timeout.
struct Survivor {
  pid_t pid = 0;  ///< as the keeper's PID namespace sees it
  std::string comm;
  bool operator==(const Survivor&) const = default;
};

/// How an attempt's process tree ended, as its keeper saw it. Written to `end` in the attempt's folder by
/// rename before the daemon is told; written again, with `complete` true, when survivors go at last.
struct EndRecord {
  static constexpr std::uint64_t kVersion = 1;
  static constexpr std::size_t kMaxReason = 4096;
  static constexpr std::size_t kMaxSurvivors = 256;
  static constexpr std::size_t kMaxText = 16384;

  std::string label;
  std::string boot_id;
  EndCause cause = EndCause::leader_exit;
  std::optional<StartFailure> start_failure;
  std::optional<int> wait_status;  ///< the leader's, raw as from waitpid(2); nothing where it is not known
  std::string stop_reason;         ///< the daemon's bytes, as they came with Stop
  std::optional<Moment> started;   ///< the leader's execve succeeded
  std::optional<Moment> stop_requested;
  std::optional<Moment> leader_exited;
  std::optional<Moment> ended;  ///< the tree was found empty; nothing while there are survivors
  bool oom = false;  ///< the kernel killed a process of the tree because its memory limit was reached
  std::uint64_t processes = 0;  ///< of the tree that this end ended, the leader included; 0: none ever ran
  std::vector<Survivor> survivors;
  bool complete = false;          ///< nothing of the tree is left
  std::string tier;               ///< "cgroup+pidns", …
  std::string action;             ///< "TERM, then cgroup.kill": for the report
  std::string verified_by;        ///< "cgroup.events populated=0": for the report
  std::uint64_t log_bytes = 0;    ///< all output
  std::uint64_t log_dropped = 0;  ///< output that the disk did not take
};

[[nodiscard]] std::string encode(const EndRecord& record);
/// Errc::corrupt for anything that encode() would not write; Errc::conflict for another version.
[[nodiscard]] Result<EndRecord> parse_end_record(std::string_view data);
/// Errc::not_found where there is none yet.
[[nodiscard]] Result<EndRecord> read_end_record(const std::string& attempt_dir);

}  // namespace ebb::process
