#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/end_record.h"
#include "ebb/process/launch.h"
#include "init.h"
#include "leader.h"
#include "ready.h"

namespace ebb::process {

/// The process tree of one attempt, in whatever tiers it is contained. It knows how to start it, signal it,
/// kill it and see whether anything of it is left; when to do so is the Keeper's business. Belongs to one
/// thread, whose process it makes a subreaper.
class Tree {
 public:
  /// `self` is this process's own pidfd.
  Tree(LaunchSpec& spec, int self) noexcept : spec_(spec), self_(self) {}

  /// Starts init and leader, or the leader alone. What comes of it is told by update(). `out` and `err` are
  /// the write ends of the output; they are closed here. `note`, where there is one, is where a leader that
  /// is this process's child writes its number. A failure leaves no process behind.
  [[nodiscard]] Result<void> start(UniqueFd out, UniqueFd err, UniqueFd note);

  /// Adds what must be polled for update() to be called in time.
  void add_polls(std::vector<pollfd>& entries) const;

  struct News {
    std::optional<pid_t> started;  ///< the leader's pid
    std::optional<StartFailure> start_failure;
    std::optional<int> leader_status;
    std::optional<std::uint64_t>
        counted;  ///< processes that there were at terminate() or at the leader's end
  };
  /// All that happened since the last call. Never blocks.
  [[nodiscard]] News update(const Ready& ready);

  /// Whether nothing of the tree is left; meaningful once the leader has ended or could not start.
  [[nodiscard]] bool empty();
  /// TERM, then CONT, to every process. How many there were, where that is known at once; else News::counted.
  std::optional<std::uint64_t> terminate();
  /// SIGKILL to every process. Without a namespace that may take several sweeps: call it again after each
  /// update().
  void kill();
  /// What is left, with names; for the end record.
  [[nodiscard]] std::vector<Survivor> survivors() const;
  /// Whether the kernel killed a process because of the memory limit.
  [[nodiscard]] bool oom() const;
  /// Removes the groups that were made for this tree. Only when it is empty.
  void remove_groups();

  [[nodiscard]] pid_t init_pid() const noexcept { return spec_.tiers.pidns ? child_pid_ : 0; }
  [[nodiscard]] bool uses_children() const noexcept { return !spec_.tiers.pidns; }
  /// Whether kill() may find more: children of the dead came to us, or the group that it killed is empty.
  [[nodiscard]] bool sweeps_again(bool child_news) const noexcept {
    return uses_children() && (child_news || spec_.tiers.cgroup);
  }
  [[nodiscard]] std::string kill_action() const;
  [[nodiscard]] std::string verified_by() const;

 private:
  [[nodiscard]] Result<void> make_groups();
  [[nodiscard]] std::string job_group() const { return spec_.cgroup + "/job"; }
  void read_reports(News& news);
  void take_report(const InitReport& report, std::string_view text, pid_t sender, News& news);
  void reap(News& news);
  [[nodiscard]] bool populated();
  void open_events();

  LaunchSpec& spec_;
  int self_;
  UniqueFd channel_;     // to the init, or to the leader until it executes
  UniqueFd child_;       // pidfd of init or leader
  pid_t child_pid_ = 0;  // 0 before the start
  bool child_reaped_ = false;
  bool leader_known_ = false;  // started, or failed to
  bool leader_ended_ = false;
  UniqueFd memory_procs_;  // cgroup.procs of the v1 groups
  UniqueFd process_procs_;
  std::optional<CgroupEvents> events_;  // opened when the end begins
};

}  // namespace ebb::process
