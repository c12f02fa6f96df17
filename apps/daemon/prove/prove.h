#pragma once

#include "command.h"

namespace ebb::cli {

/// `ebb audit --prove`: starts a daemon of its own beside whatever runs here, kills it, its jobs and their
/// clients in turn, and looks from outside for what is left. Prints a line for each; the exit status.
/// However it ends itself, nothing of it stays.
[[nodiscard]] int prove(bool json);

/// The body of the jobs that are killed: `words` is the port. Three processes, one of which ignores SIGTERM
/// and listens on the port, and one left its session; says "ready" when all are there. Returns on errors
/// only.
[[nodiscard]] int prove_job_main(Words words);

}  // namespace ebb::cli
