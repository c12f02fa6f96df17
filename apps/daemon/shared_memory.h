#pragma once

#include <vector>

#include "ebb/client/client.h"
#include "ebb/daemon/config.h"
#include "ebb/process/census.h"

namespace ebb::cli {

/// The daemon's ended attempts that shared the machine's shared memory, semaphores and message queues, for
/// compare(): where another process of their user lived too, the daemon did not know what was theirs, and
/// removed none of it. Empty where the census has nothing that is unused. Of the last thousand ended jobs.
[[nodiscard]] std::vector<process::IpcClaim> sharing_attempts(client::Client& client,
                                                              const daemon::Config& config,
                                                              const process::Census& census);

}  // namespace ebb::cli
