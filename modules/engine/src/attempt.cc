#include <algorithm>

#include "core.h"

// How a job goes from one state to the next, whatever event asked for it.
namespace ebb::engine {
namespace {
// Keeps sums of time far from overflow; nobody waits that long for a kill.
constexpr Duration kLongestGrace = std::chrono::hours(24 * 365);
}  // namespace

void Engine::State::note(std::string type, const Job& job, model::JobState state,
                         std::optional<std::string> detail) {
  out_.records.emplace_back(record::Note{std::move(type), job.id, state, std::move(detail)});
}

Job* Engine::State::current(AttemptId attempt) {
  Job* const job = queue_.find(attempt.job);
  return job && job->attempts == attempt.number ? job : nullptr;
}

void Engine::State::withdraw(Job& job) {
  if (std::holds_alternative<Queued>(job.phase)) {
    // From the middle of its lane it goes without anybody being the better for it.
    if (&Queue::head(*job.group) == &job) changed_ = true;
    queue_.unwait(job);
  } else {
    out_.now.emplace_back(act::Abandon{job.attempt_id()});
    pool_.give_back(std::get<Boxed<Acquiring>>(job.phase)->leases);
    acquiring_.erase(job.id);
    changed_ = true;
  }
}

void Engine::State::stop(Job& job, model::StopReason reason, std::optional<Duration> grace) {
  if (Attempt* const attempt = job.attempt()) {
    const bool ended = std::holds_alternative<Boxed<Releasing>>(job.phase);
    if (!ended) stop_attempt(job, *attempt, std::move(reason), grace);
  } else {
    withdraw(job);
    end_before_start(job, std::move(reason));
  }
}

// The first reason counts; a later stop can only shorten the grace period. An attempt that the census has not
// found yet is told when it has.
void Engine::State::stop_attempt(Job& job, Attempt& attempt, model::StopReason reason,
                                 std::optional<Duration> grace) {
  const Duration wait = std::clamp(grace.value_or(job.grace), Duration::zero(), kLongestGrace);
  const BootTime kill_at = now_.boot + wait;
  if (!attempt.stop) {
    attempt.stop = Stop{std::move(reason), now_.wall, now_.boot, kill_at};
    out_.records.emplace_back(record::StopAsked{job.attempt_id(), attempt.stop->reason, now_.wall});
    note("job.releasing", job, model::JobState::releasing);
  } else if (kill_at < attempt.stop->kill_at) {
    attempt.stop->kill_at = kill_at;
  } else {
    return;
  }
  if (attempt.confirmed) out_.then.emplace_back(act::Stop{job.attempt_id(), attempt.stop->reason, wait});
}

void Engine::State::end_before_start(Job& job, model::StopReason reason) {
  model::Report report;
  report.job = job.id;
  report.attempt = 0;
  report.reason = std::move(reason);
  report.stop_requested_at = now_.wall;
  report.released_at = now_.wall;
  note("job.ended", job, model::terminal_state(report.reason.kind), report.reason.detail);
  out_.records.emplace_back(record::JobEnded{job.id, std::move(report)});
  forget(job);
}

void Engine::State::back_to_queue(Job& job, const Leases& leases) {
  pool_.give_back(leases);
  acquiring_.erase(job.id);
  --job.attempts;
  job.phase = Queued{};
  queue_.count(job);
  queue_.wait(job);
  changed_ = true;
}

void Engine::State::remember_start(Job& job, Attempt& attempt) {
  attempt.order = ++starts_;
  active_.emplace(attempt.order, &job);
}

void Engine::State::limit_time(const Job& job, Running& running, BootTime since) {
  if (!job.time) return;
  running.time_out = since + *job.time;
  deadlines_.emplace(*running.time_out, job.id, Due::time);
}

void Engine::State::run(Job& job, BootTime since) {
  auto running = std::make_unique<Running>();
  running->attempt = std::move(std::get<Boxed<Starting>>(job.phase)->attempt);
  limit_time(job, *running, since);
  out_.records.emplace_back(record::AttemptRunning{job.attempt_id(), running->attempt.pid.value_or(0),
                                                   running->attempt.started_at.value_or(now_.wall)});
  job.phase = std::move(running);
  note("job.running", job, model::JobState::running);
}

void Engine::State::begin_release(Job& job, model::StopReason reason, model::Exit exit) {
  forget_deadlines(job);
  auto releasing = std::make_unique<Releasing>();
  releasing->attempt = std::move(*job.attempt());
  releasing->attempt.confirmed = true;  // its end was heard of
  releasing->reason = std::move(reason);
  releasing->exit = exit;
  const Attempt& attempt = releasing->attempt;
  out_.now.emplace_back(act::Release{job.attempt_id(), attempt.leases, releasing->reason, exit,
                                     attempt.started_at,
                                     attempt.stop ? std::optional(attempt.stop->asked_at) : std::nullopt});
  job.phase = std::move(releasing);
}

void Engine::State::forget(Job& job) {
  forget_deadlines(job);
  queue_.uncount(job);
  queue_.forget(job);
}

}  // namespace ebb::engine
