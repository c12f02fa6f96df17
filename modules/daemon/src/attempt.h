#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attempt_locks.h"
#include "attempt_processes.h"
#include "context.h"
#include "ebb/engine/actions.h"
#include "ebb/lifecycle/scope.h"
#include "ebb/process/ipc_sweep.h"
#include "held_back.h"
#include "kept_tree.h"
#include "quarantine.h"
#include "readiness.h"

namespace ebb::daemon {

/// One attempt on this machine, from the engine's first action to the removal of its folder: carries out the
/// engine's actions by its parts, and tells the engine what happens. One thread, that of the loop.
///
///   acquire → (abandon) | start → stop* → release → finish          a new attempt
///   adopt → stop* → release → finish                                one of an earlier daemon
///
/// The shell holds it until finish(); from then on Context::lingering does, as long as it waits for its
/// keeper's exit, for survivors, or for a GPU that is quarantined.
class Attempt : public std::enable_shared_from_this<Attempt> {
 public:
  Attempt(Context& context, AttemptId id, std::shared_ptr<const store::JobRow> job, engine::Leases leases);
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;
  ~Attempt();

  /// Takes the locks and verifies that each device is free; tells Acquired or AcquireFailed.
  void acquire();
  void abandon();
  /// Starts the keeper; tells Started, later Ended, and BecameReady or ReadyFailed where that was asked for.
  /// `owner`: pidfd of the process that the attempt lives with, or -1.
  void start(std::map<std::string, std::string> secret_env, int owner);
  void stop(const model::StopReason& reason, Duration grace);
  /// The job has no owner any longer.
  void disown();
  /// Runs the releases; tells Released.
  void release(const engine::act::Release& release);
  /// The report is on disk.
  void finish();
  /// The daemon goes and leaves the attempt to its keeper. Nothing is called or told from here on.
  void detach();
  /// Another attempt is about to use these devices and shares their locks. A keeper that should have left by
  /// now, and cannot, would go on holding them when nobody else does any longer: it is killed.
  void make_room_for(const engine::Leases& leases);

  /// For an attempt of an earlier daemon, whose journal has it in `state`: takes up its keeper and locks, and
  /// tells what has become of it. One that is releasing only gets its keeper and locks back: the engine
  /// releases it again. `leader`: its process, as far as the journal knows it. What has become of it, for
  /// people.
  std::string_view adopt(const std::string& boot_id, model::JobState state, std::optional<int> leader);
  /// The job has ended and its report is written, but its folder is still there, or these GPUs are: waits on
  /// for survivors and for the GPUs, and cleans up when none is left. What its keeper still holds is
  /// told to be not free until the keeper has handed it over or gone.
  void adopt_lingering(const std::string& boot_id, const std::vector<int>& quarantined);

  [[nodiscard]] AttemptId id() const { return id_; }
  [[nodiscard]] const store::JobRow& job() const { return *job_; }
  [[nodiscard]] const engine::Leases& leases() const { return leases_; }
  [[nodiscard]] const std::string& tier() const { return tree_.tier(); }
  /// Whether this GPU is held back until something of the attempt is gone.
  [[nodiscard]] bool quarantines(int gpu) const { return quarantine_->holds(gpu); }
  /// Asks again whether a quarantined GPU is free; tells DeviceChanged when it is.
  void recheck(int gpu, Quarantine::Done done) { quarantine_->recheck(gpu, std::move(done)); }

 private:
  [[nodiscard]] KeptTree::Calls tree_calls();
  void start_failed(const std::string& why);
  void started(pid_t leader, std::optional<BootTime> at);
  void begin_readiness();
  void tree_ended(engine::Ended event);
  /// The report is on disk, and what it called left is gone.
  void emptied();
  void take_locks();
  void never_began();
  void run_releases(const engine::act::Release& release);
  void clean_up();
  void linger();
  void lift_held_back();

  Context& context_;
  AttemptId id_;
  std::shared_ptr<const store::JobRow> job_;
  engine::Leases leases_;
  process::LaunchSpec spec_;  // of this machine; its command is emptied after the start

  std::shared_ptr<AttemptLocks> locks_;
  std::shared_ptr<AttemptProcesses> processes_;
  std::shared_ptr<Quarantine> quarantine_;
  KeptTree tree_;
  std::unique_ptr<Readiness> readiness_;
  std::optional<process::IpcClaim> ipc_;                 // where it shares the machine's
  std::optional<engine::act::Release> waiting_release_;  // until the end of a tree that was being released
  std::optional<lifecycle::Scope> scope_;
  bool finished_ = false;  // the report is on disk
  bool detached_ = false;
  bool abandoned_ = false;
  bool cleaned_ = false;
  HeldBack held_back_;
  bool locks_handed_ = false;
  std::shared_ptr<void> closing_;  // held until its folder and groups are removed
};

}  // namespace ebb::daemon
