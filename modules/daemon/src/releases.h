#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "context.h"
#include "ebb/base/listeners.h"
#include "ebb/lifecycle/scope.h"
#include "ebb/process/end_record.h"
#include "ebb/process/ipc_sweep.h"

namespace ebb::daemon {

/// The release of a process tree that its keeper has ended already: what the keeper did and how it verified
/// it.
[[nodiscard]] std::unique_ptr<lifecycle::Release> processes_release(const process::EndRecord& end,
                                                                    const std::string& target);
/// Waits until nothing of the job is on the GPU. `lock` learns that it was verified free.
[[nodiscard]] std::unique_ptr<lifecycle::Release> gpu_release(Context& context, int gpu,
                                                              std::shared_ptr<HeldLock> lock,
                                                              std::function<bool(pid_t)> belongs);
/// Nobody listens on the port on either family. `is_own` tells the attempt's own listeners from others'.
[[nodiscard]] std::unique_ptr<lifecycle::Release> port_release(int port,
                                                               std::function<bool(const Listener&)> is_own);
/// Removes shared memory and the like that an attempt left in the machine's own IPC namespace.
[[nodiscard]] std::unique_ptr<lifecycle::Release> ipc_release(process::IpcClaim claim);
/// Removes the attempt's scratch folder; in a thread of its own where it is not empty.
[[nodiscard]] std::unique_ptr<lifecycle::Release> scratch_release(Context& context, AttemptId attempt);

}  // namespace ebb::daemon
