#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attempt_end.h"
#include "attempt_processes.h"
#include "attempt_search.h"
#include "context.h"
#include "ebb/model/job.h"
#include "keeper_arrival.h"
#include "keeper_session.h"
#include "lost_tree.h"

namespace ebb::daemon {

/// One attempt's process tree, from its keeper's start to the keeper's exit: has the keeper run and end it,
/// ends it in the place of a keeper that is lost, and tells how it ended. One thread, that of the loop.
///
/// States: *none*; *kept* (by a keeper, or by one that is awaited); *foreign* (by a keeper of another
/// version, which goes on with it: only a stop ends the tree, and then the keeper with it); *lost* (the
/// daemon has killed it); *ended*, with survivors or without. The calls come from the loop, not from within
/// begin(), stop() and the like; destroyed or closed, it calls nobody any more.
class KeptTree {
 public:
  struct Calls {
    /// May be told twice.
    std::function<void(pid_t leader, std::optional<BootTime> at)> started;
    /// The tree is gone, or what outlived the kill is known (`end()->complete` is false). Once.
    std::function<void(engine::Ended)> ended;
    /// What had outlived the kill is gone at last.
    std::function<void()> emptied;
    /// No process uses the attempt's folder and groups any more.
    std::function<void()> keeper_gone;
    std::function<void(std::vector<UniqueFd>)> handed_locks;
    /// No keeper is there (any more) that has locks and could hand them over: after take_up(), or before the
    /// tree's end is known. May come again.
    std::function<void()> no_keeper;
    /// Its keeper speaks another version of the protocol, and is left alone.
    std::function<void(const std::string& why)> foreign_keeper;
    /// After take_up(): nothing of the job was ever executed.
    std::function<void()> never_began;
  };

  KeptTree(Context& context, AttemptId id, std::shared_ptr<AttemptProcesses> processes, Calls calls);
  KeptTree(const KeptTree&) = delete;
  KeptTree& operator=(const KeptTree&) = delete;

  void begin(process::StartedKeeper keeper);
  /// In place of begin(), of a keeper that may have been and may have begun something
  /// (KeeperStarter::start()): what is left of that is killed, then it ends as a job that could not be
  /// started, for the reason `why`.
  void begin_unknown(const std::string& why);
  /// One of an earlier daemon, whose journal has it in `state`: what was found of it, for people. May call at
  /// once.
  std::string_view take_up(model::JobState state);
  /// One whose report is written: false where its keeper is gone and nothing of the tree is left. What is
  /// left without a keeper is killed and watched.
  [[nodiscard]] bool take_up_lingering();
  /// It never lived, or not in this boot. Calls nobody.
  void assume(process::EndRecord record);

  void stop(const model::StopReason& reason, Duration grace);
  /// Its keeper must not end it for want of an owner or a daemon. Before begin() or take_up() it is
  /// remembered.
  void disown();
  void acknowledge() { keeper_.acknowledge(); }
  /// SIGKILL to a keeper that has nothing left to do.
  void kill_keeper();
  void close();

  /// How it ended; nothing while that is not known.
  [[nodiscard]] const std::optional<process::EndRecord>& end() const { return end_; }
  /// Whether its end will be told.
  [[nodiscard]] bool end_awaited() const { return !end_ && (keeper_.linked() || arrival_ || lost_); }
  [[nodiscard]] bool has_keeper() const { return keeper_.present(); }
  /// As the keeper has it.
  [[nodiscard]] const std::string& tier() const { return tier_; }
  void set_tier(std::string tier) { tier_ = std::move(tier); }

 private:
  void handle(process::KeeperEvent event);
  void welcomed(const process::Welcome& welcome);
  void know_init(pid_t init);
  void settle(Remains remains, model::JobState state);
  void over(process::EndRecord record, const std::optional<KeeperLoss>& loss = {});
  void foreign(const std::string& why);
  void lost(KeeperSession::Loss how);
  void kill(KeeperLoss loss);
  void hunt(std::function<void(process::EndRecord)> done);

  Context& context_;
  AttemptId id_;
  std::string tier_;
  std::string folder_;
  std::shared_ptr<AttemptProcesses> processes_;
  Calls calls_;
  KeeperSession keeper_;
  pid_t keeper_pid_ = 0;
  UniqueFd init_pidfd_;
  std::unique_ptr<KeeperArrival> arrival_;  // while one is awaited
  std::optional<LostTree> lost_;
  std::optional<model::StopReason> asked_;  // the first stop that was asked of the keeper
  bool disowned_ = false;
  bool foreign_ = false;
  std::optional<process::EndRecord> end_;
};

}  // namespace ebb::daemon
