#include <algorithm>

#include "core.h"

// What the shell tells about attempts.
namespace ebb::engine {

void Engine::State::on(const Acquired& event) {
  Job* const job = current(event.attempt);
  auto* const acquiring = job ? std::get_if<Boxed<Acquiring>>(&job->phase) : nullptr;
  if (!acquiring) return;
  Leases leases = std::move((*acquiring)->leases);
  if (!may_start()) {  // draining began meanwhile
    out_.now.emplace_back(act::Abandon{event.attempt});
    back_to_queue(*job, leases);
    return;
  }
  acquiring_.erase(job->id);
  queue_.uncount(*job);
  auto starting = std::make_unique<Starting>();
  starting->attempt.leases = leases;
  remember_start(*job, starting->attempt);
  job->phase = std::move(starting);
  out_.records.emplace_back(record::AttemptAdded{event.attempt, leases});
  note("job.starting", *job, model::JobState::starting);
  out_.then.emplace_back(act::Start{event.attempt, std::move(leases)});
}

void Engine::State::on(const AcquireFailed& event) {
  Job* const job = current(event.attempt);
  auto* const acquiring = job ? std::get_if<Boxed<Acquiring>>(&job->phase) : nullptr;
  if (!acquiring) return;
  const Leases leases = std::move((*acquiring)->leases);
  back_to_queue(*job, leases);
  for (const auto& refusal : event.refusals)
    learn(refusal.is_port, refusal.id, refusal.state, refusal.why, refusal.outside, std::nullopt);
  if (!event.refusals.empty()) return;
  // Nobody is named: were nothing marked, the same devices would be asked for again at once, for ever.
  if (leases.gpus.empty() && leases.ports.empty()) {
    stop(*job, {model::StopKind::start_failed, "daemon", "what it asks for could not be taken"},
         std::nullopt);
    return;
  }
  for (const int gpu : leases.gpus)
    learn(false, gpu, model::DeviceState::unknown, "it could not be taken", {}, std::nullopt);
  for (const int port : leases.ports)
    learn(true, port, model::DeviceState::unknown, "it could not be taken", {}, std::nullopt);
}

void Engine::State::on(const Started& event) {
  Job* const job = current(event.attempt);
  Attempt* const attempt = job ? job->attempt() : nullptr;
  if (!attempt || std::holds_alternative<Boxed<Releasing>>(job->phase)) return;
  attempt->pid = event.pid;
  const bool restored = !std::exchange(attempt->confirmed, true);
  BootTime since = event.at.value_or(now_.boot);
  if (restored && !event.at && attempt->started_at && job->time) {
    // By the wall clock only where nothing better is known; set back, it must not add to the time.
    since -= std::clamp(now_.wall - *attempt->started_at, Duration::zero(), *job->time);
  }
  if (!attempt->started_at) attempt->started_at = now_.wall;
  if (restored && attempt->stop) {
    // The daemon that asked for the stop is gone, and with it the rest of the grace period.
    attempt->stop->kill_at = now_.boot + job->grace;
    out_.then.emplace_back(act::Stop{event.attempt, attempt->stop->reason, job->grace});
  }
  if (auto* const running = std::get_if<Boxed<Running>>(&job->phase)) {
    if (restored) limit_time(*job, **running, since);
  } else if (!job->waits_for_ready && !attempt->stop) {
    run(*job, since);
  }
}

void Engine::State::on(const BecameReady& event) {
  Job* const job = current(event.attempt);
  if (!job || !std::holds_alternative<Boxed<Starting>>(job->phase)) return;
  const Attempt& attempt = *job->attempt();
  if (job->waits_for_ready && attempt.pid && !attempt.stop) run(*job, now_.boot);
}

void Engine::State::on(const ReadyFailed& event) {
  Job* const job = current(event.attempt);
  if (!job || !std::holds_alternative<Boxed<Starting>>(job->phase)) return;
  stop(*job, {model::StopKind::start_failed, "daemon", event.why}, std::nullopt);
}

void Engine::State::on(const Ended& event) {
  Job* const job = current(event.attempt);
  const Attempt* const attempt = job ? job->attempt() : nullptr;
  if (!attempt || std::holds_alternative<Boxed<Releasing>>(job->phase)) return;
  // The first reason counts. What is seen from outside (SIGTERM, exit 0 after clean-up, even oom while it
  // saved its state) is a consequence of the stop, unless the leader was gone before anybody asked, or the
  // keeper so far gone that the stop came to nothing.
  model::StopReason reason = event.reason;
  if (attempt->stop && !event.unanswered) {
    const auto& asked = attempt->stop->asked;
    const bool was_gone = event.exited_at && asked && *event.exited_at < *asked;
    if (!was_gone) reason = attempt->stop->reason;
  }
  out_.records.emplace_back(record::AttemptEnded{event.attempt, reason, event.exit, now_.wall});
  if (!attempt->stop) note("job.releasing", *job, model::JobState::releasing);
  begin_release(*job, std::move(reason), event.exit);
}

void Engine::State::on(const NeverStarted& event) {
  Job* const job = current(event.attempt);
  auto* const starting = job ? std::get_if<Boxed<Starting>>(&job->phase) : nullptr;
  if (!starting || (*starting)->attempt.pid) return;  // what was seen to run is never forgotten
  const Attempt attempt = std::move((*starting)->attempt);
  out_.records.emplace_back(record::AttemptDropped{event.attempt});
  active_.erase(attempt.order);
  back_to_queue(*job, attempt.leases);
  if (attempt.stop)
    stop(*job, attempt.stop->reason, std::nullopt);
  else
    note("job.queued", *job, model::JobState::queued);
}

void Engine::State::on(const Released& event) {
  Job* const job = current(event.attempt);
  auto* const releasing = job ? std::get_if<Boxed<Releasing>>(&job->phase) : nullptr;
  if (!releasing) return;
  const Attempt attempt = std::move((*releasing)->attempt);
  note("job.ended", *job, model::terminal_state(event.report.reason.kind), event.report.reason.detail);
  out_.records.emplace_back(record::JobEnded{job->id, event.report});
  out_.then.emplace_back(act::Finish{event.attempt});
  active_.erase(attempt.order);
  pool_.give_back(attempt.leases);
  learn_from(event.report, attempt.leases, event.attempt);
  changed_ = true;
  forget(*job);
}

}  // namespace ebb::engine
