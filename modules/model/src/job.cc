#include "ebb/model/job.h"

namespace ebb::model {

JobState terminal_state(StopKind kind) {
  switch (kind) {
    case StopKind::completed:
      return JobState::completed;
    case StopKind::failed:
    case StopKind::start_failed:
    case StopKind::timeout:
    case StopKind::oom:
    case StopKind::keeper_lost:
    case StopKind::reboot:
      return JobState::failed;
    case StopKind::cancelled:
    case StopKind::owner_lost:
    case StopKind::preempted:
    case StopKind::daemon_stopped:
    case StopKind::dependency_failed:
      return JobState::cancelled;
  }
  return JobState::failed;
}

int exit_status(StopKind kind, const Exit& exit, const std::optional<std::string>& detail) {
  constexpr int kTimeout = 124, kNeverRan = 125, kCannotExecute = 126, kNoCommand = 127;
  constexpr int kSignalled = 128, kKill = 9, kTerm = 15;
  switch (kind) {
    case StopKind::completed:
      return 0;
    case StopKind::failed:
      if (exit.signal) return kSignalled + *exit.signal;
      return exit.code && *exit.code != 0 ? *exit.code : 1;
    case StopKind::start_failed:
      if (exit.code == kCannotExecute || exit.code == kNoCommand) return *exit.code;
      if (detail && detail->starts_with(kCommandNotFound)) return kNoCommand;
      if (detail && detail->starts_with(kNotExecutable)) return kCannotExecute;
      return kNeverRan;
    case StopKind::timeout:
      return kTimeout;
    case StopKind::oom:
      return kSignalled + kKill;
    case StopKind::cancelled:
    case StopKind::owner_lost:
    case StopKind::preempted:
    case StopKind::daemon_stopped:
    case StopKind::dependency_failed:
      return kSignalled + kTerm;
    case StopKind::keeper_lost:
    case StopKind::reboot:
      return kNeverRan;
  }
  return kNeverRan;
}

}  // namespace ebb::model
