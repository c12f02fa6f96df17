#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/end_record.h"

namespace ebb::process {

/// What every process of a tree is given and passes on.
struct Marks {
  std::vector<std::string>
      environment;  ///< all of these; a process may overwrite its own (setproctitle does)
  /// Soft RLIMIT_LOCKS, which means nothing to Linux since 2.4.25, so that nobody sets it; 0: none.
  std::uint64_t limit = 0;
};
/// The limit is given where nothing but marks tells an attempt's processes; 0 where the number is too large.
[[nodiscard]] Marks attempt_marks(AttemptId attempt);
/// The attempt whose mark is in /proc/PID/limits.
[[nodiscard]] std::optional<AttemptId> attempt_of_limits(std::string_view limits);

/// The processes of an attempt without a keeper, where neither a cgroup nor a namespace holds them together
/// (in the other tiers kill_cgroup() or the namespace's end does this): those that have the marks, in their
/// environment or as a limit, and of this process's descendants those too that share a session with such a
/// one. A daemon in tier 3 must have been a subreaper since before the keeper's start, or nothing comes to it
/// to be reaped. One thread at a time.
class Orphans {
 public:
  /// `leader`: the pid of the one that its keeper's death has ended, or 0; come to this process, it is
  /// reaped.
  explicit Orphans(Marks marks, pid_t leader = 0) : marks_(std::move(marks)), leader_(leader) {}

  /// Those that live now. What may not be read (another user's) does not count.
  [[nodiscard]] std::vector<Survivor> find() const;
  /// Stops them all, so that none forks past the kill, kills them, and reaps those that have come to this
  /// process, with what ended by itself (where the limit tells whose it was). True when none is left: one
  /// that began after all that were killed had gone has found nothing. Else it is to be called again.
  [[nodiscard]] bool sweep();
  /// Sweeps until none is left, or the deadline has passed: which of both. Blocks.
  [[nodiscard]] bool end(BootTime deadline);

 private:
  struct Found {
    Survivor process;
    std::uint64_t start_time = 0;
  };
  [[nodiscard]] std::vector<Found> look() const;
  void reap();
  void reap_leader();
  void reap_ended() const;

  Marks marks_;
  pid_t leader_;
  std::map<pid_t, UniqueFd> killed_;  // pidfds of those that have not been seen to go
};

}  // namespace ebb::process
