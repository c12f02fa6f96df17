#include "core.h"

// What users, and the start of the daemon, tell about jobs.
namespace ebb::engine {

void Engine::State::on(const Submitted& event) {
  Job& job = queue_.add(event.job);
  queue_.count(job);
  queue_.wait(job);
  watch_owner(job);
  out_.records.emplace_back(record::JobAdded{job.id});
  note("job.queued", job, model::JobState::queued);
  // Behind a job of its own shape, it changes nothing for anybody.
  if (&Queue::head(*job.group) == &job) changed_ = true;
}

void Engine::State::on(const NotRecorded& event) {
  Job* const job = queue_.find(event.job);
  if (!job) return;
  if (const Attempt* const attempt = job->attempt()) {
    if (attempt->pid) return;  // what was seen to run is on disk
    out_.now.emplace_back(act::Abandon{job->attempt_id()});
    active_.erase(attempt->order);
    pool_.give_back(attempt->leases);
    changed_ = true;
  } else {
    withdraw(*job);
  }
  forget(*job);
}

void Engine::State::on(const StopRequested& event) {
  if (Job* const job = queue_.find(event.job)) stop(*job, event.reason, event.grace);
}

void Engine::State::on(const Restored& event) {
  if (queue_.find(event.job.id)) return;
  Job& job = queue_.add(event.job);
  job.attempts = static_cast<std::uint32_t>(event.attempts_before);
  watch_owner(job);  // one full lease
  changed_ = true;
  if (!event.attempt) {
    queue_.count(job);
    queue_.wait(job);
    return;
  }
  const Restored::Attempt& old = *event.attempt;
  job.attempts = static_cast<std::uint32_t>(old.number);
  pool_.take_again(job.id, old.leases);
  Attempt attempt;
  attempt.leases = old.leases;
  attempt.started_at = old.started_at;
  attempt.confirmed = false;
  if (old.stop_reason && old.state != model::JobState::releasing)
    attempt.stop =
        Stop{*old.stop_reason, old.stop_asked_at.value_or(now_.wall), std::nullopt, BootTime::max()};
  if (old.state == model::JobState::releasing) {
    auto releasing = std::make_unique<Releasing>();
    if (old.stop_asked_at) attempt.stop = Stop{{}, *old.stop_asked_at, std::nullopt, BootTime::max()};
    releasing->reason = old.stop_reason.value_or(
        model::StopReason{model::StopKind::keeper_lost, "daemon", "how it ended was not written down"});
    releasing->exit = old.exit;
    releasing->attempt = std::move(attempt);
    remember_start(job, releasing->attempt);
    job.phase = std::move(releasing);
    forget_deadlines(job);
  } else if (old.state == model::JobState::running) {
    auto running = std::make_unique<Running>();
    running->attempt = std::move(attempt);
    remember_start(job, running->attempt);
    job.phase = std::move(running);
  } else {
    auto starting = std::make_unique<Starting>();
    starting->attempt = std::move(attempt);
    remember_start(job, starting->attempt);
    job.phase = std::move(starting);
  }
}

void Engine::State::on(const RestoreDone&) {
  if (!std::exchange(restoring_, false)) return;
  changed_ = true;
  for (const auto& [order, job] : active_) {
    auto* const releasing = std::get_if<Boxed<Releasing>>(&job->phase);
    // One whose end was told meanwhile is being released already.
    if (!releasing || (*releasing)->attempt.confirmed) continue;
    const Attempt& attempt = (*releasing)->attempt;
    out_.now.emplace_back(act::Release{job->attempt_id(), attempt.leases, (*releasing)->reason,
                                       (*releasing)->exit, attempt.started_at,
                                       attempt.stop ? std::optional(attempt.stop->asked_at) : std::nullopt});
  }
}

void Engine::State::on(const Drain& event) {
  if (draining_ == event.on) return;
  draining_ = event.on;
  changed_ = true;
  out_.records.emplace_back(record::Note{event.on ? "daemon.draining" : "daemon.resumed", std::nullopt,
                                         std::nullopt, std::nullopt});
}

void Engine::State::on(const Shutdown& event) {
  if (shutdown_ != Ending::ending) shutdown_ = event.end_jobs ? Ending::ending : Ending::keeping;
  changed_ = true;
  // What has no attempt on disk goes back to its place: the next daemon starts it.
  for (const JobId id : std::set<JobId>(acquiring_)) {
    Job& job = *queue_.find(id);
    out_.now.emplace_back(act::Abandon{job.attempt_id()});
    const Leases leases = std::move(std::get<Boxed<Acquiring>>(job.phase)->leases);
    back_to_queue(job, leases);
  }
  if (shutdown_ != Ending::ending) return;
  const auto grace = event.now ? std::optional(Duration::zero()) : std::nullopt;
  for (const auto& [order, job] : active_)
    stop(*job, {model::StopKind::daemon_stopped, "daemon", std::nullopt}, grace);
}

void Engine::State::on(const Tick&) {
  while (!deadlines_.empty() && std::get<BootTime>(*deadlines_.begin()) <= now_.boot) {
    const auto [at, id, due] = *deadlines_.begin();
    deadlines_.erase(deadlines_.begin());
    Job& job = *queue_.find(id);
    if (due == Due::owner_lease) {
      job.owner_lost_at = Job::kNever;
      stop(job, {model::StopKind::owner_lost, "daemon", "the owner was not heard of for its lease"},
           std::nullopt);
    } else {
      std::get<Boxed<Running>>(job.phase)->time_out.reset();
      stop(job, {model::StopKind::timeout, "daemon", "its --time has passed"}, std::nullopt);
    }
  }
}

}  // namespace ebb::engine
