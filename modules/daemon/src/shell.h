#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "attempt.h"
#include "context.h"
#include "device_watches.h"
#include "ebb/engine/engine.h"
#include "exit_watch.h"
#include "pending.h"
#include "waiters.h"

namespace ebb::daemon {

/// Carries out what the engine decides. Events come in at any time and are applied one after the other on the
/// loop's thread; what the engine wants recorded is committed, one transaction at a time, and what must wait
/// for the disk waits for it. While a commit is under way the records of later events gather, so that one
/// commit serves all transitions that wait.
class Shell {
 public:
  Shell(Context& context, engine::Engine engine, std::int64_t last_event);
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;
  ~Shell();

  /// Queues an event; it is applied in the loop's next turn.
  void tell(engine::Event event);
  /// Applies an event at once, with all that are queued before it. Not from within the shell.
  void apply(engine::Event event);

  /// A new job, which the engine has accepted just before.
  struct NewJob {
    std::shared_ptr<const store::JobRow> row;
    engine::JobInfo info;
    std::optional<store::write::AddIdempotency> key = {};
    /// Variables that it gets at its start, and that are never written down.
    std::map<std::string, std::string> secrets = {};
    int owner = -1;  ///< pidfd of the process without which it ends
  };
  /// Hands it to the engine, so that one transaction has its row and what follows from it at once, such as
  /// its leases. `done` hears, from the loop, when that is on disk, or why not: then the job never was. Not
  /// from within the shell.
  void submit(NewJob job, std::function<void(Result<void>)> done);

  [[nodiscard]] const engine::Engine& engine() const { return engine_; }
  /// Makes a row known, so that the start of its job need not read it back.
  void remember(std::shared_ptr<const store::JobRow> row);
  /// From memory, or else from the store; nothing where there is no such job.
  [[nodiscard]] Result<std::shared_ptr<const store::JobRow>> row(JobId id);
  [[nodiscard]] std::shared_ptr<Attempt> attempt(JobId id) const;
  void add_attempt(std::shared_ptr<Attempt> attempt);

  // ---- owners
  /// The job ends when this process does.
  void watch_owner(JobId id, int pidfd);
  void forget_owner(JobId id);
  [[nodiscard]] bool owner_connected(JobId id) const;
  void owner_holds(JobId id, int change);

  // ---- waiting
  [[nodiscard]] Waiters<JobId>& job_waiters() { return job_waiters_; }
  [[nodiscard]] Waiters<int>& event_waiters() { return event_waiters_; }
  static constexpr int kAnyEvent = 0;
  static constexpr int kShutdown = 1;
  [[nodiscard]] std::int64_t last_event() const { return published_; }

  /// Reports of the jobs that ended since collect_reports() and are on disk, for the end of the daemon.
  [[nodiscard]] const std::vector<model::Report>& reports() const { return reports_; }
  void collect_reports() { collecting_ = true; }
  /// Jobs whose end is known, but not on disk.
  [[nodiscard]] std::size_t unwritten_ends() const;
  /// Whether everything told has been applied and is on disk.
  [[nodiscard]] bool settled() const;
  /// Not settled from here on until all that anybody has committed before is on disk.
  void sync();
  /// How long the disk has been taking over the present commit.
  [[nodiscard]] Duration disk_silent() const;
  /// Why the disk did not take the last commit, which is tried again; empty: it did.
  [[nodiscard]] const std::string& disk_error() const { return failed_; }
  void on_fatal(std::function<void(Error)> handler) { fatal_ = std::move(handler); }
  /// Called with the last attempt of each job that has ended, once its report is on disk.
  void on_ended(std::function<void(AttemptId)> handler) { on_ended_ = std::move(handler); }
  /// Drops everything that is under way; jobs stay with their keepers.
  void detach();

  std::int64_t submitted = 0, started = 0, ended = 0;

 private:
  void drain();
  void take(engine::Actions actions);
  void carry_out(const engine::Act& act);
  void write(const engine::Record& record, WallTime at);
  void flush();
  void wait_for_company();
  void commit();
  void committed(const store::Store::Outcome& outcome);
  void answer(const Pending::Unanswered& job, const Result<void>& result);
  void refuse_new_jobs(const Error& error);
  void retry_later(const Error& error);
  void disk_failed(const Error& error);
  void arm_timer();

  Context& context_;
  engine::Engine engine_;
  std::deque<engine::Event> events_;
  bool scheduled_ = false;
  bool detached_ = false;
  boost::asio::steady_timer tick_;

  Pending gathering_;
  boost::asio::steady_timer company_;  // until what is gathered has waited for it long enough
  bool waits_for_company_ = false;
  std::optional<Pending> committing_;
  BootTime asked_;  // while the disk is to answer for `committing_`; else BootTime::max()
  std::string failed_;
  boost::asio::steady_timer retry_;

  std::unordered_map<JobId, std::shared_ptr<const store::JobRow>> rows_;
  std::unordered_map<JobId, std::shared_ptr<Attempt>> attempts_;
  std::unordered_map<JobId, std::map<std::string, std::string>> secrets_;
  struct Arriving {
    std::optional<store::write::AddIdempotency> key;
    std::function<void(Result<void>)> done;
  };
  std::unordered_map<JobId, Arriving> arriving_;  // the engine has not answered yet
  struct Owner {
    std::unique_ptr<ExitWatch> process;
    int holds = 0;
  };
  std::unordered_map<JobId, Owner> owners_;
  DeviceWatches watches_;

  Waiters<JobId> job_waiters_;
  Waiters<int> event_waiters_;
  std::int64_t event_seq_;
  std::int64_t published_;
  bool collecting_ = false;
  std::vector<model::Report> reports_;
  std::function<void(Error)> fatal_;
  std::function<void(AttemptId)> on_ended_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();  // what waits on the loop may outlive the shell
};

}  // namespace ebb::daemon
