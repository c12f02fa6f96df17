#pragma once

#include <optional>
#include <string>

#include "ebb/base/ids.h"
#include "ebb/engine/events.h"
#include "ebb/process/end_record.h"
#include "keeper_session.h"

namespace ebb::daemon {

// From what is known of the end of a process tree to what the engine is told.

[[nodiscard]] engine::Ended ended_by(AttemptId attempt, const process::EndRecord& record);
/// The attempt is of another boot.
[[nodiscard]] engine::Ended ended_by_reboot(AttemptId attempt, const process::EndRecord& record);

/// How an attempt's keeper was lost.
struct KeeperLoss {
  KeeperSession::Loss how = KeeperSession::Loss::exited;
  BootTime seen;
  std::optional<model::StopReason> asked;  ///< the stop that the keeper had been sent
};
/// The end of the tree was seen to by the daemon, since its keeper was lost.
[[nodiscard]] engine::Ended ended_by_loss(AttemptId attempt, const process::EndRecord& record,
                                          const KeeperLoss& loss);

/// Records of ends that no keeper wrote, because none was there or it was lost.
[[nodiscard]] process::EndRecord never_started(AttemptId attempt);
[[nodiscard]] process::EndRecord start_failed(AttemptId attempt, const std::string& why);
[[nodiscard]] process::EndRecord gone_with_its_boot(AttemptId attempt);
/// The daemon killed the tree: whether it found it empty, and how that was found.
[[nodiscard]] process::EndRecord killed_by_daemon(AttemptId attempt, const std::string& tier, bool empty,
                                                  const std::string& how);

}  // namespace ebb::daemon
