#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "accounts.h"
#include "context.h"
#include "ebb/base/unique_fd.h"
#include "ebb/daemon/daemon.h"
#include "history.h"
#include "shell.h"
#include "users.h"

namespace ebb::daemon {

/// The daemon's parts and what its calls share. The calls themselves stand in submission.cc, queries.cc,
/// owners.cc, users_api.cc, devices_api.cc and daemon.cc; how it comes to life in startup.cc.
class Daemon::Impl {
 public:
  Impl(std::unique_ptr<Context> parts, engine::Engine engine, std::int64_t last_job, std::int64_t last_event,
       Users known_users);

  // ---- daemon.cc
  /// Waits until everything is on disk, and with `idle` until every job has ended; or until the disk is given
  /// up.
  [[nodiscard]] Task<void> settle(bool idle);

  // ---- startup.cc
  void recover(const std::vector<store::QuarantineRow>& quarantined);
  void look_at_quarantined(const std::vector<store::QuarantineRow>& rows);
  /// How many it found.
  std::size_t remove_strays(const std::set<std::string>& live) const;

  // ---- queries.cc
  [[nodiscard]] bool may_see(const Caller& caller, const store::JobRow& row) const;
  /// The job as this caller may see it.
  [[nodiscard]] model::Job view(const Caller& caller, const store::JobRecord& record) const;
  [[nodiscard]] Result<model::Job> job(const Caller& caller, JobId id) const;
  /// Why there is nothing to tell of it: never there, or no longer kept.
  [[nodiscard]] Error no_job(JobId id) const;
  /// Refuses unknown jobs and those of others.
  [[nodiscard]] Result<std::shared_ptr<const store::JobRow>> own_row(const Caller& caller, JobId id) const;

  // ---- submission.cc
  [[nodiscard]] Result<Shell::NewJob> prepare(const Caller& caller, Submission submission);
  using Durable = std::function<void(Result<void>)>;
  /// Waits until what `begin` is given is called, on the loop; a failure is the disk's.
  [[nodiscard]] static Task<Result<void>> durable(const std::function<void(Durable)>& begin);
  [[nodiscard]] Task<Result<void>> commit(store::Batch batch);

  // ---- devices_api.cc
  /// Looks at the devices that were used from outside when they were last looked at; whether one is free now.
  [[nodiscard]] Task<bool> look_at_outside(const model::Devices& shown);

  // ---- users_api.cc
  /// Makes the row durable, then known.
  [[nodiscard]] Task<Result<void>> put_user(store::UserRow row);

  std::unique_ptr<Context> context;
  mutable Shell shell;
  History history;
  Users users;
  std::int64_t last_job_seq;
  std::unordered_set<JobId> pending_ids;  // drawn, not yet on disk
  Waiters<std::string> key_waiters;
  std::unordered_set<std::string> pending_keys;  // idempotency keys under way
  std::vector<std::string> recovered;
  bool stopping = false;
  bool disk_hangs = false;  // it has left a write unanswered for too long
  std::string disk_error;   // then, in words
};

/// What the engine knows of a job, new or restored.
[[nodiscard]] engine::JobInfo info_of(const store::JobRow& row);
[[nodiscard]] Error not_yours(JobId id);

}  // namespace ebb::daemon
