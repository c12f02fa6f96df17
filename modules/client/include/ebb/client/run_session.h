#pragma once

#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/client/endpoint.h"
#include "ebb/client/sidecar.h"
#include "ebb/model/job.h"

namespace ebb::client {

/// What `ebb run` was asked for.
struct RunOptions {
  model::JobRequest request;  ///< with an `owner`
  std::vector<SidecarSpec> sidecars;
  bool expand = true;  ///< replace {sidecar.NAME.url} here; the daemon replaces the rest
  bool quiet = false;  ///< none of Ebb's own lines but errors
  std::vector<Endpoint> candidates;
  std::string key;
  std::string keeper;  ///< path of ebb-keeper; needed with sidecars only
};

/// How the process is to end.
struct RunEnd {
  int status = 0;
  int signal = 0;  ///< not 0: die of it, so that a shell sees why
};

/// Starts the side processes, submits the job, copies its output and lives with it until it has ended and
/// everything is released; stops the side processes last. The job's bytes alone go to stdout and stderr,
/// Ebb's own lines to stderr as "ebb: …". Runs on the calling thread, which it needs alone: it takes over
/// SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP and SIGPIPE until it returns. Never throws.
///
/// On a signal it cancels the job and waits for the release; a second SIGINT, SIGTERM or SIGQUIT ends it at
/// once. A lost server is sought for kServerSought on this host, over TCP for the owner's lease. However this
/// process ends, side processes end with it, and the job by the daemon's owner rule.
[[nodiscard]] RunEnd run_job(RunOptions options);

inline constexpr Duration kServerSought = std::chrono::seconds(60);
/// Interrupted without an answer from the server: how long it may take until this process leaves.
inline constexpr Duration kCancelLimit = std::chrono::seconds(5);

}  // namespace ebb::client
