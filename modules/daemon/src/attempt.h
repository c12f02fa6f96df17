#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "context.h"
#include "ebb/engine/actions.h"
#include "ebb/lifecycle/scope.h"
#include "ebb/process/ipc_sweep.h"
#include "ebb/process/socket_owner.h"
#include "ebb/process/spawn.h"
#include "lost_tree.h"
#include "readiness.h"

namespace ebb::daemon {

/// One attempt on this machine: its locks, its keeper, its readiness and its releases. Carries out the
/// engine's actions and tells it what happens. One thread, that of the loop.
///
///   acquire → (abandon) | start → stop* → release → finish          a new attempt
///   restore → adopt     → stop* → release → finish                  one of an earlier daemon
///
/// It stays alive by itself (through what it waits for) from start to the keeper's exit, and as long as
/// something of it is quarantined.
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
  /// Runs the releases; tells Released.
  void release(const engine::act::Release& release);
  /// The report is on disk.
  void finish();
  /// The daemon goes and leaves the attempt to its keeper.
  void detach();

  /// For an attempt of an earlier daemon: takes up its keeper and locks, and tells what has become of it.
  /// One that is `releasing` only gets its keeper and locks back: the engine releases it again.
  void adopt(const std::string& boot_id, bool releasing);
  /// The job has ended and its report is written, but its folder is still there: waits on for survivors, or
  /// cleans up where its keeper is gone (false).
  bool adopt_lingering();

  [[nodiscard]] AttemptId id() const { return id_; }
  [[nodiscard]] const store::JobRow& job() const { return *job_; }
  [[nodiscard]] const engine::Leases& leases() const { return leases_; }
  [[nodiscard]] std::string tier() const { return tier_; }
  /// Whether this GPU is held back until something of the attempt is gone.
  [[nodiscard]] bool quarantines(int gpu) const { return quarantined_.contains(gpu); }
  /// Asks again whether a quarantined GPU is free; tells DeviceChanged when it is.
  void recheck(int gpu, std::function<void(bool free, std::string why)> done);

 private:
  void verify_gpus(std::size_t index, std::vector<engine::AcquireFailed::Refusal> refusals);
  void acquired(std::vector<engine::AcquireFailed::Refusal> refusals);
  void start_failed(const std::string& message);
  void take_link(process::KeeperLink link);
  void wait_link();
  void receive();
  void handle(process::Started started);
  void handle(process::Welcome welcome);
  void handle(process::Ended ended);
  void keeper_gone();
  void tree_lost();
  /// The tree is gone, or what is left of it is known. `reason` over what the record says.
  void end_by_record(process::EndRecord record, std::optional<model::StopReason> reason = {});
  void run_releases(const engine::act::Release& release);
  void begin_readiness();
  void expect_answer(Duration within);
  void clean_up();
  void watch_quarantine();
  void lift(int gpu, const devices::GpuVerdict& verdict);
  void note_quarantine(model::Report& report);
  void take_locks();
  void adopt_locks(std::vector<UniqueFd> locks);
  [[nodiscard]] bool owns_pid(pid_t pid) const;
  [[nodiscard]] bool owns(const Listener& listener) const;
  [[nodiscard]] std::string cgroup() const;

  Context& context_;
  AttemptId id_;
  std::shared_ptr<const store::JobRow> job_;
  engine::Leases leases_;
  std::string tier_;
  process::LaunchSpec spec_;  // of this machine; its command is emptied after the start

  std::map<int, std::shared_ptr<HeldLock>> gpu_locks_;
  std::map<int, std::shared_ptr<HeldLock>> port_locks_;

  std::optional<process::KeeperLink> link_;
  std::optional<boost::asio::posix::stream_descriptor> link_events_;
  std::optional<boost::asio::posix::stream_descriptor> keeper_exit_;
  UniqueFd init_pidfd_;
  pid_t leader_ = 0;
  std::optional<process::EndRecord> end_;
  std::optional<LostTree> lost_;
  std::optional<engine::act::Release> waiting_release_;  // until the end of a tree that was being released
  boost::asio::steady_timer answer_limit_;
  bool asked_ = false;     // a stop was sent to the keeper
  bool finished_ = false;  // the report is on disk
  bool detached_ = false;
  bool abandoned_ = false;
  bool cleaned_ = false;
  std::shared_ptr<void> closing_;  // held until its folder and groups are removed
  std::unique_ptr<Readiness> readiness_;
  std::vector<process::IpcObject> ipc_before_;
  std::optional<lifecycle::Scope> scope_;
  std::set<int> quarantined_;  // GPUs that the report calls quarantined
  boost::asio::steady_timer quarantine_timer_;
};

}  // namespace ebb::daemon
