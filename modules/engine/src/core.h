#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ebb/engine/engine.h"
#include "pool.h"
#include "queue.h"

namespace ebb::engine {

/// What stands behind Engine. Events come in through on(); each adds to `out_`, and settle() then lets the
/// queue move if anything has changed that could let it, so that the end of one job and the start of the next
/// stand in the same Actions.
class Engine::State {
 public:
  State(Machine machine, Limits limits);

  [[nodiscard]] Actions apply(const Event& event, Instant now);

  // events_*.cc: one function for each event
  void on(const Restored& event);
  void on(const RestoreDone& event);
  void on(const Submitted& event);
  void on(const NotRecorded& event);
  void on(const StopRequested& event);
  void on(const Acquired& event);
  void on(const AcquireFailed& event);
  void on(const Started& event);
  void on(const BecameReady& event);
  void on(const ReadyFailed& event);
  void on(const Ended& event);
  void on(const NeverStarted& event);
  void on(const Released& event);
  void on(const DeviceChanged& event);
  void on(const OwnerConnected& event);
  void on(const OwnerDisconnected& event);
  void on(const OwnerSuspended& event);
  void on(const OwnerResumed& event);
  void on(const OwnerExited& event);
  void on(const OwnerDropped& event);
  void on(const Drain& event);
  void on(const Shutdown& event);
  void on(const Tick& event);

  // queries
  [[nodiscard]] Result<void> check(const JobInfo& job) const;          // check.cc
  [[nodiscard]] std::optional<model::Why> why(JobId id) const;         // why.cc
  [[nodiscard]] std::optional<JobView> find(JobId id) const;           // views.cc
  [[nodiscard]] std::optional<std::int64_t> position(JobId id) const;  // views.cc
  [[nodiscard]] model::Devices devices() const;                        // views.cc
  [[nodiscard]] std::vector<JobId> active() const;                     // views.cc
  [[nodiscard]] std::optional<BootTime> next_deadline() const;
  [[nodiscard]] std::int64_t queued_count() const { return queue_.counted(); }
  [[nodiscard]] bool draining() const { return draining_ || shutdown_ != Ending::no; }
  [[nodiscard]] bool idle() const;

 private:
  enum class Ending { no, keeping, ending };
  enum class Due { owner_lease, time };
  using Deadline = std::tuple<BootTime, JobId, Due>;

  // dispatch.cc
  void settle();
  void dispatch();
  void acquire(Job& job, Leases leases);
  void update_watches();
  [[nodiscard]] bool may_start() const { return !restoring_ && !draining(); }

  // attempt.cc: from one state to the next
  void stop(Job& job, model::StopReason reason, std::optional<Duration> grace);
  void stop_attempt(Job& job, Attempt& attempt, model::StopReason reason, std::optional<Duration> grace);
  void end_before_start(Job& job, model::StopReason reason);
  /// Takes a job that has no attempt on disk out of its lane, or away from what is being acquired for it.
  void withdraw(Job& job);
  void back_to_queue(Job& job, const Leases& leases);
  void run(Job& job, BootTime since);
  void limit_time(const Job& job, Running& running, BootTime since);
  void begin_release(Job& job, model::StopReason reason, model::Exit exit);
  void remember_start(Job& job, Attempt& attempt);
  void forget(Job& job);
  /// The job of this attempt, if it is its current one.
  [[nodiscard]] Job* current(AttemptId attempt);

  // devices.cc
  void learn(bool is_port, int id, model::DeviceState known, std::string why,
             std::vector<model::OutsideUse> outside, std::optional<AttemptId> attempt);
  void learn_from(const model::Report& report, const Leases& leases, AttemptId attempt);

  // owners.cc
  /// Starts or stops the owner's clock, as it must be now.
  void watch_owner(Job& job, std::optional<BootTime> since = std::nullopt);
  void stop_owner_clock(Job& job);
  void forget_deadlines(Job& job);

  // why.cc
  void explain_gpus(const Job& job, model::Why& why) const;
  void explain_ports(const Job& job, model::Why& why) const;
  void explain_memory(const Job& job, model::Why& why) const;
  [[nodiscard]] std::string holder_text(const Job& holder, const std::vector<int>& gpus) const;

  void note(std::string type, const Job& job, model::JobState state,
            std::optional<std::string> detail = std::nullopt);

  Limits limits_;
  Pool pool_;
  Queue queue_;
  std::map<std::uint64_t, Job*> active_;  // those with an attempt on disk, by order of their start
  std::set<JobId> acquiring_;
  std::uint64_t starts_ = 0;
  std::set<Deadline> deadlines_;
  std::set<std::pair<bool, int>> watched_;  // is_port, id
  bool restoring_ = true;
  bool draining_ = false;
  Ending shutdown_ = Ending::no;
  bool changed_ = false;  // something that could let a waiting job start

  Instant now_;  // of the last event
  Actions out_;  // of the event that is being applied
};

}  // namespace ebb::engine
