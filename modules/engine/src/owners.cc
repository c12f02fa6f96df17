#include "core.h"

// The owner of an attached job. Its lease runs from the submission until it connects, stands still while it
// is connected or suspended, and runs again when the connection is gone.
namespace ebb::engine {

void Engine::State::stop_owner_clock(Job& job) {
  if (job.owner_lost_at == Job::kNever) return;
  deadlines_.erase({job.owner_lost_at, job.id, Due::owner_lease});
  job.owner_lost_at = Job::kNever;
}

void Engine::State::watch_owner(Job& job, std::optional<BootTime> since) {
  stop_owner_clock(job);
  if (!job.owner_lease || job.owner_connected || job.owner_suspended) return;
  if (std::holds_alternative<Boxed<Releasing>>(job.phase)) return;  // it has ended without its owner's help
  job.owner_lost_at = since.value_or(now_.boot) + *job.owner_lease;
  deadlines_.emplace(job.owner_lost_at, job.id, Due::owner_lease);
}

void Engine::State::forget_deadlines(Job& job) {
  stop_owner_clock(job);
  if (auto* const running = std::get_if<Boxed<Running>>(&job.phase); running && (*running)->time_out) {
    deadlines_.erase({*(*running)->time_out, job.id, Due::time});
    (*running)->time_out.reset();
  }
}

void Engine::State::on(const OwnerConnected& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner_lease) return;
  job->owner_connected = true;
  job->owner_suspended = false;
  watch_owner(*job);
}

void Engine::State::on(const OwnerDisconnected& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner_connected) return;
  job->owner_connected = false;
  watch_owner(*job, event.since);
}

void Engine::State::on(const OwnerSuspended& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner_lease) return;
  job->owner_suspended = true;
  watch_owner(*job);
}

void Engine::State::on(const OwnerResumed& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner_suspended) return;
  job->owner_suspended = false;
  watch_owner(*job);
}

void Engine::State::on(const OwnerExited& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner_lease) return;
  job->owner_connected = false;
  stop(*job, {model::StopKind::owner_lost, "daemon", "the owner's process has exited"}, std::nullopt);
}

void Engine::State::on(const OwnerDropped& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner_lease) return;
  job->owner_lease.reset();
  job->owner_connected = job->owner_suspended = false;
  watch_owner(*job);
  out_.records.emplace_back(record::OwnerDropped{job->id});
  // One whose locks are being taken is started with what was submitted, and so must be told as well.
  const bool has_attempt = !std::holds_alternative<Queued>(job->phase);
  if (has_attempt && !std::holds_alternative<Boxed<Releasing>>(job->phase)) {
    out_.then.emplace_back(act::Disown{job->attempt_id()});
  }
}

}  // namespace ebb::engine
