#include <algorithm>

#include "daemon.h"
#include "world.h"

// What clients and admins ask for: modules/daemon/src/{submission,owners,devices_api}.cc.
namespace ebb::simulation {

void Daemon::submit(int client) {
  if (!step()) return;
  const auto refuse = [&] { world_.clients.answer(client, -1); };
  if (stopping_ || disk_error_) return refuse();
  const bool has_key = world_.clients.has_key(client);
  if (has_key && world_.plan.mutant != Mutant::forgets_keys) {
    const bool pending = std::ranges::find(submissions_, client, &Submission::client) != submissions_.end();
    if (pending) return waits_for_key_.push_back(client);
    if (const Row* const row = world_.disk.with_key(client)) {
      world_.oracle.acknowledged(client, row->job);
      return world_.clients.answer(client, row->job);
    }
  }
  if (world_.jobs.size() >= 250) return refuse();  // of a client that tries for ever
  const int job = world_.add_job(client, ++last_seq_);
  const engine::JobInfo& info = world_.jobs[static_cast<std::size_t>(job)].info;
  const auto possible = engine_->check(info);
  world_.oracle.checked(info, possible.ok());
  if (!possible.ok()) return refuse();
  submissions_.push_back({.client = client, .job = job});
  if (info.owner_lease && world_.clients.is_local(client)) {
    watched_owners_.insert(job);
    if (world_.clients.owner_is_gone(job)) tell(engine::OwnerExited{info.id});
  }
  apply(engine::Submitted{info});
  if (alive_ && world_.plan.mutant == Mutant::answers_early) {
    world_.oracle.acknowledged(client, job);
    world_.clients.answer(client, job);
  }
}

void Daemon::submitted(const Submission& submission, bool done) {
  std::erase_if(submissions_, [&](const Submission& one) { return one.job == submission.job; });
  const auto waiting = std::exchange(waits_for_key_, {});
  if (done) world_.oracle.acknowledged(submission.client, submission.job);
  world_.clients.answer(submission.client, done ? submission.job : -1);
  for (const int client : waiting) submit(client);
}

void Daemon::cancel(int job, Duration grace) {
  if (!step()) return;
  const JobId id = world_.jobs[static_cast<std::size_t>(job)].info.id;
  if (!engine_->find(id)) return;
  world_.oracle.may_end(job, model::StopKind::cancelled);
  apply(engine::StopRequested{id, {model::StopKind::cancelled, "owner", "SIGINT"}, grace});
}

void Daemon::owner_is(int job, const engine::Event& event) {
  if (!alive_) return;
  if (std::holds_alternative<engine::OwnerConnected>(event) &&
      world_.clients.is_local(world_.jobs[static_cast<std::size_t>(job)].client)) {
    watched_owners_.insert(job);
  }
  if (std::holds_alternative<engine::OwnerDropped>(event)) watched_owners_.erase(job);
  tell(event);
}

void Daemon::owner_exits(int job) {
  if (alive_ && watched_owners_.contains(job))
    tell(engine::OwnerExited{world_.jobs[static_cast<std::size_t>(job)].info.id});
}

void Daemon::drain(bool on) {
  if (alive_) tell(engine::Drain{on});
}

void Daemon::shut_down(bool end_jobs) {
  if (!step()) return;
  const bool again = std::exchange(stopping_, true);
  keeping_ = !end_jobs;
  if (end_jobs) world_.oracle.daemon_ends_jobs();
  apply(engine::Shutdown{.end_jobs = end_jobs, .now = again});
}

}  // namespace ebb::simulation
