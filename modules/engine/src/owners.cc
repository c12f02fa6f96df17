#include "core.h"

// The owner of an attached job. Its lease runs from the submission until it connects, stands still while it
// is connected or suspended, and runs again when the connection is gone.
namespace ebb::engine {

void Engine::State::watch_owner(Job& job, std::optional<BootTime> since) {
  Owner& owner = job.owner;
  if (owner.lost_at) deadlines_.erase({*owner.lost_at, job.id, Due::owner_lease});
  owner.lost_at.reset();
  if (!owner.lease || owner.connected || owner.suspended) return;
  owner.lost_at = since.value_or(now_.boot) + *owner.lease;
  deadlines_.emplace(*owner.lost_at, job.id, Due::owner_lease);
}

void Engine::State::forget_deadlines(Job& job) {
  if (job.owner.lost_at) deadlines_.erase({*job.owner.lost_at, job.id, Due::owner_lease});
  job.owner.lost_at.reset();
  if (auto* const running = std::get_if<Boxed<Running>>(&job.phase); running && (*running)->time_out) {
    deadlines_.erase({*(*running)->time_out, job.id, Due::time});
    (*running)->time_out.reset();
  }
}

void Engine::State::on(const OwnerConnected& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner.lease) return;
  job->owner.connected = true;
  job->owner.suspended = false;
  watch_owner(*job);
}

void Engine::State::on(const OwnerDisconnected& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner.connected) return;
  job->owner.connected = false;
  if (!std::holds_alternative<Boxed<Releasing>>(job->phase)) watch_owner(*job, event.since);
}

void Engine::State::on(const OwnerSuspended& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner.lease) return;
  job->owner.suspended = true;
  watch_owner(*job);
}

void Engine::State::on(const OwnerResumed& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner.suspended) return;
  job->owner.suspended = false;
  if (!std::holds_alternative<Boxed<Releasing>>(job->phase)) watch_owner(*job);
}

void Engine::State::on(const OwnerExited& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner.lease) return;
  job->owner.connected = false;
  stop(*job, {model::StopKind::owner_lost, "daemon", "the owner's process has exited"}, std::nullopt);
}

void Engine::State::on(const OwnerDropped& event) {
  Job* const job = queue_.find(event.job);
  if (!job || !job->owner.lease) return;
  job->owner.lease.reset();
  job->owner.connected = job->owner.suspended = false;
  watch_owner(*job);
  out_.records.emplace_back(record::OwnerDropped{job->id});
}

}  // namespace ebb::engine
