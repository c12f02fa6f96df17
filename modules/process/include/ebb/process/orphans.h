#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "ebb/base/ids.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/end_record.h"

namespace ebb::process {

/// What every process of an attempt is given in its environment.
[[nodiscard]] std::vector<std::string> attempt_marks(AttemptId attempt);

/// The processes of an attempt without a keeper, where neither a cgroup nor a namespace holds them together
/// (in the other tiers kill_cgroup() or the namespace's end does this): those that have all of the marks in
/// their environment, and of this process's descendants those too that share a session with such a one, since
/// a process may have overwritten its environment (setproctitle does). A daemon in tier 3 must have been a
/// subreaper since before the keeper's start, or nothing comes to it. One thread at a time.
class Orphans {
 public:
  /// `leader`: the pid of the one that its keeper's death has ended, or 0; come to this process, it is
  /// reaped.
  explicit Orphans(std::vector<std::string> marks, pid_t leader = 0)
      : marks_(std::move(marks)), leader_(leader) {}

  /// Those that live now. Environments that may not be read (another user's) do not count.
  [[nodiscard]] std::vector<Survivor> find() const;
  /// Stops them all, so that none forks past the kill, kills them, and reaps those that have come to this
  /// process. How many are not gone yet: to be called again until there are none.
  std::size_t sweep();

 private:
  struct Found {
    Survivor process;
    std::uint64_t start_time = 0;
  };
  [[nodiscard]] std::vector<Found> look() const;
  void reap();
  void reap_leader();

  std::vector<std::string> marks_;
  pid_t leader_;
  std::map<pid_t, UniqueFd> killed_;  // pidfds of those that have not been seen to go
};

}  // namespace ebb::process
