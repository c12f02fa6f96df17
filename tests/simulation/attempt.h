#pragma once

#include <optional>
#include <set>
#include <vector>

#include "ebb/engine/actions.h"
#include "ebb/engine/events.h"
#include "keepers.h"

namespace ebb::simulation {

struct World;

/// One attempt in the daemon: what Attempt, KeptTree, KeeperSession, LostTree, AttemptLocks and Quarantine
/// of modules/daemon are together, in their words. It dies with the daemon; its keeper does not.
class Attempt {
 public:
  Attempt(World& world, int place, AttemptId id, int job, engine::Leases leases);

  // the engine's actions
  void acquire();
  void abandon();
  void start();
  void stop(const model::StopReason& reason, Duration grace);
  void disown();
  void release(const engine::act::Release& release);
  void finish();
  /// Another one is about to use these devices.
  void make_room_for(const engine::Leases& leases);

  // recovery
  void adopt(std::uint32_t boot, model::JobState state);
  /// Its report is written. `quarantined`: what it still holds back.
  void adopt_lingering(const std::vector<int>& quarantined);
  void look_at_quarantined();

  // what happens
  void happen(const Happening& happening);
  void hears(const Message& message);
  void keeper_came();
  void tree_emptied();

  [[nodiscard]] AttemptId id() const { return id_; }
  [[nodiscard]] int keeper() const { return keeper_; }
  [[nodiscard]] bool finished() const { return finished_; }

 private:
  enum class Loss { exited, unanswered, overdue };

  // attempt_locks.cc
  [[nodiscard]] bool take(bool is_port, int id);
  void give_back(bool is_port, int id);
  void give_back_all();
  void take_all();
  void verify();
  void gpu_answer(const Happening& happening);

  // attempt.cc
  void tell(engine::Event event);
  void later(Duration wait, What what, std::int32_t detail = 0);
  void started(std::optional<Moment> at);
  void tree_ended(engine::Ended event);
  void emptied();
  void never_began();
  void let_keeper_go();
  void keep_quarantined();
  void clean_up();

  // attempt_tree.cc
  void linked(int keeper, bool child);
  void expect_answer(Duration within);
  void expect_end(Duration within);
  void expect_nothing();
  void over(EndRecord record, std::optional<engine::Ended> lost = {});
  void lost(Loss how);
  void kill(Loss how);
  void settle(model::JobState state);
  [[nodiscard]] bool take_up_lingering();
  [[nodiscard]] bool end_awaited() const { return !end_ && (linked_ || arriving_ || hunting_); }

  // attempt_release.cc
  void run_releases();
  void gpu_release(std::size_t index);
  void report();
  void watch_quarantined();

  World& world_;
  int place_;
  AttemptId id_;
  int job_;
  engine::Leases leases_;
  std::set<std::pair<bool, int>> locks_;

  // acquiring
  bool abandoned_ = false;
  std::size_t verifying_ = 0;
  std::vector<engine::AcquireFailed::Refusal> refusals_;

  // the tree
  int keeper_ = -1;
  bool linked_ = false, child_ = false, reaped_ = false;
  int unanswered_ = 0;
  std::int32_t answer_turn_ = 0, end_turn_ = 0, ready_turn_ = 0;
  std::optional<Moment> end_due_;
  std::optional<model::StopReason> asked_;
  bool disowned_ = false;
  bool arriving_ = false;
  model::JobState arriving_as_{};
  bool hunting_ = false;
  Loss hunted_for_ = Loss::exited;
  BootTime hunted_since_{};
  std::optional<EndRecord> end_;

  // the end
  std::optional<engine::act::Release> waiting_release_, releasing_;
  std::vector<model::ReleaseRecord> records_;
  std::size_t gpus_left_ = 0;
  Moment release_limit_{};
  bool finished_ = false;
  std::set<int> quarantine_;
  bool watching_ = false;
};

}  // namespace ebb::simulation
