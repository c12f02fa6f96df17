#pragma once

#include <optional>
#include <string>

#include "ebb/base/ids.h"
#include "ebb/engine/events.h"
#include "ebb/process/end_record.h"

namespace ebb::daemon {

// From what is known of the end of a process tree to what the engine is told.

/// The event for this record. `reason` counts over what the record says, where it is given.
[[nodiscard]] engine::Ended ended_by(AttemptId attempt, const process::EndRecord& record,
                                     std::optional<model::StopReason> reason = {});

/// Records of ends that no keeper wrote, because none was there or it was lost.
[[nodiscard]] process::EndRecord never_started(AttemptId attempt);
[[nodiscard]] process::EndRecord start_failed(AttemptId attempt, const std::string& why);
[[nodiscard]] process::EndRecord gone_with_its_boot(AttemptId attempt);
/// The daemon killed the tree: whether it found it empty, and how that was found.
[[nodiscard]] process::EndRecord killed_by_daemon(AttemptId attempt, const std::string& tier, bool empty,
                                                  const std::string& how);

}  // namespace ebb::daemon
