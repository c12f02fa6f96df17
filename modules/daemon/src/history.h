#pragma once

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "context.h"

namespace ebb::daemon {

/// Keeps what ended jobs leave behind within [history]: jobs over its limits are dropped with their logs,
/// those that ended first first; logs over theirs likewise, their jobs stay. A job that lives, is being
/// released or has something quarantined is never touched, nor one younger than `min_age`, of whose end
/// somebody may be about to hear. docs/decisions/history.md says why it is done this way.
///
/// Works in small steps: a look into the database on the loop, the deletion of files on a thread of its own,
/// a small commit; one step at a time, and none while nothing is over a limit. The thread of the loop.
class History {
 public:
  /// `is_live`: whether a job has not ended, or its end is not on disk yet.
  History(Context& context, std::function<bool(JobId)> is_live);
  History(const History&) = delete;
  History& operator=(const History&) = delete;
  /// Waits for the file that is being deleted; the rest stays for the next daemon.
  ~History();

  /// Counts what is there, in the background, and begins. Before the first call of ended().
  void begin();
  /// The job's last report is on disk; `last` is its last attempt, numbered 0 where it had none.
  void ended(AttemptId last);
  /// Whether the logs of jobs that ended then were dropped, as far as there were any.
  [[nodiscard]] bool log_dropped(store::Store::EndedAt ended) const { return ended <= logs_gone_until_; }

 private:
  using EndedAt = store::Store::EndedAt;
  using EndedJob = store::Store::EndedJob;
  struct Freed {
    std::vector<JobId> jobs;  // of which nothing is left
    EndedAt until;            // the last one that was looked at
    std::int64_t bytes = 0;
  };

  template <typename Work, typename Done>
  void elsewhere(Work work, Done done);
  void count(AttemptId last);
  void check();
  void finish();
  void arm_timer();
  void drop_jobs();
  void drop_logs();
  void free_files(std::vector<EndedJob> jobs, std::int64_t enough, std::function<void(Freed)> done);
  void commit(store::Batch batch, std::function<void()> done);

  Context& context_;
  std::function<bool(JobId)> is_live_;
  boost::asio::steady_timer timer_;

  std::int64_t jobs_ = 0;  // ended ones
  std::int64_t logs_ = 0;  // bytes of their logs
  bool counted_ = false;
  std::vector<AttemptId> uncounted_;  // ended before everything was counted
  bool busy_ = false;
  bool check_again_ = false;  // something has ended while it was busy
  // Before then there is nothing to do about a limit, whatever ends meanwhile.
  BootTime jobs_next_{}, logs_next_{};
  EndedAt jobs_walk_, logs_walk_;
  bool logs_walk_again_ = false;  // the walk has begun anew, since the first one freed too little
  EndedAt logs_gone_until_;

  std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  // Its own: deleting a large file takes a disk's time, and whoever waits for a release must not wait for it.
  boost::asio::thread_pool thread_{1};
};

}  // namespace ebb::daemon
