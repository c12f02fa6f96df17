#include <algorithm>

#include "oracle.h"
#include "story.h"
#include "world.h"

// What the engine is told and answers, followed step by step; and its views, compared with that.
namespace ebb::simulation {

using model::DeviceState;
using model::JobState;
using model::StopKind;

void Oracle::daemon_starts() {
  restoring_ = true;
  draining_ = shutting_down_ = false;
}

void Oracle::daemon_dies() {
  live_.clear();
  claims_.clear();
  watched_.clear();
  verified_.clear();
}

void Oracle::applied(const engine::Event& event, const engine::Actions& actions) {
  Trace& trace = world_.trace;
  trace.mix(mark_of(event));
  if (trace.on()) world_.say(text_of(event));
  follow(event);
  for (const engine::Record& record : actions.records) {
    trace.mix(mark_of(record));
    if (trace.on() && !std::holds_alternative<engine::record::Note>(record))
      world_.say("          " + text_of(record));
    follow(record);
  }
  for (const engine::Act& act : actions.now) {
    trace.mix(mark_of(act));
    if (trace.on()) world_.say("          now  " + text_of(act));
    follow(act);
  }
  for (const engine::Act& act : actions.then) {
    trace.mix(mark_of(act));
    if (trace.on()) world_.say("          then " + text_of(act));
  }
  if (restoring_ || !sound()) return;
  check_views();
  if (sound() && !draining_ && !shutting_down_) check_queue(actions);
}

void Oracle::carried_out(const engine::Act& act) {
  if (world_.trace.on()) world_.say("shell: " + text_of(act));
}

void Oracle::checked(const engine::JobInfo& job, bool accepted) {
  // Programs are drawn so that the machine can run each of them.
  const bool expected = !draining_ && !shutting_down_;
  if (accepted != expected) fail("job " + job.id.str() + (accepted ? " is accepted" : " is refused"));
}

void Oracle::claim(AttemptId attempt, const engine::Leases& leases) {
  const auto one = [&](bool is_port, int id) {
    const auto [other, is_new] = claims_.emplace(DeviceKey{is_port, id}, attempt);
    if (!is_new)
      fail((is_port ? "port " : "gpu ") + std::to_string(id) + " belongs to " + other->second.str() +
           ", and is given to " + attempt.str());
  };
  for (const int gpu : leases.gpus) one(false, gpu);
  for (const int port : leases.ports) one(true, port);
}

void Oracle::unclaim(JobId job) {
  std::erase_if(claims_, [&](const auto& claim) { return claim.second.job == job; });
  for (Live& live : live_) {
    if (live.info.id != job) continue;
    live.acquiring = live.active = false;
    live.leases = {};
  }
}

void Oracle::follow(const engine::Event& event) {
  const auto enter = [&](const engine::JobInfo& info) -> Live& {
    const auto key = [](const Live& live) { return std::pair(-live.info.priority, live.info.seq); };
    const auto place = std::ranges::lower_bound(live_, std::pair(-info.priority, info.seq), {}, key);
    return *live_.insert(place, Live{.info = info,
                                     .alone_since = world_.now(),
                                     .told_so = {},
                                     .stop = {},
                                     .leases = {},
                                     .perhaps_first = {},
                                     .surely_first = {}});
  };
  if (const auto* restored = std::get_if<engine::Restored>(&event)) {
    Live& live = enter(restored->job);
    if (!restored->attempt) return;
    live.active = true;
    live.leases = restored->attempt->leases;
    if (restored->attempt->stop_reason) live.stop = restored->attempt->stop_reason->kind;
    claim({restored->job.id, static_cast<std::uint32_t>(restored->attempt->number)}, live.leases);
  } else if (const auto* submitted = std::get_if<engine::Submitted>(&event)) {
    enter(submitted->job);
  } else if (const auto* undone = std::get_if<engine::NotRecorded>(&event)) {
    unclaim(undone->job);
    std::erase_if(live_, [&](const Live& live) { return live.info.id == undone->job; });
  } else if (std::holds_alternative<engine::RestoreDone>(event)) {
    restoring_ = false;
    for (const Row& row : world_.disk.rows())
      if (!row.report && !world_.daemon.engine().find(row.info.id))
        fail("job " + row.info.id.str() + " is lost");
  } else if (const auto* acquired = std::get_if<engine::Acquired>(&event)) {
    for (Live& live : live_) {
      if (live.info.id != acquired->attempt.job || !live.acquiring) continue;
      live.acquiring = false;
      live.active = true;
    }
  } else if (const auto* failed = std::get_if<engine::AcquireFailed>(&event)) {
    unclaim(failed->attempt.job);
  } else if (const auto* drain = std::get_if<engine::Drain>(&event)) {
    draining_ = drain->on;
  } else if (std::holds_alternative<engine::Shutdown>(event)) {
    shutting_down_ = true;
  } else {
    owner_event(event);
  }
}

// The owner's lease, as docs/lifecycle.md has it.
void Oracle::owner_event(const engine::Event& event) {
  const auto with = [&](JobId job, auto change) {
    for (Live& live : live_)
      if (live.info.id == job && live.info.owner_lease) change(live);
  };
  if (const auto* connected = std::get_if<engine::OwnerConnected>(&event)) {
    with(connected->job, [](Live& live) { live.connected = true, live.suspended = false; });
  } else if (const auto* gone = std::get_if<engine::OwnerDisconnected>(&event)) {
    with(gone->job, [&](Live& live) {
      if (!std::exchange(live.connected, false)) return;
      live.alone_since = gone->since ? world_.moment(*gone->since) : world_.now();
      live.told_so = world_.now();
    });
  } else if (const auto* suspended = std::get_if<engine::OwnerSuspended>(&event)) {
    with(suspended->job, [](Live& live) { live.suspended = true; });
  } else if (const auto* resumed = std::get_if<engine::OwnerResumed>(&event)) {
    with(resumed->job, [&](Live& live) {
      if (std::exchange(live.suspended, false)) live.alone_since = world_.now();
    });
  } else if (const auto* dropped = std::get_if<engine::OwnerDropped>(&event)) {
    with(dropped->job, [](Live& live) { live.info.owner_lease.reset(); });
  }
}

// A stop that the engine decides by itself must be due.
void Oracle::asked_to_stop(JobId job, const model::StopReason& reason) {
  const auto found = std::ranges::find(live_, job, [](const Live& live) { return live.info.id; });
  if (found == live_.end()) return;
  // What was due once stays decided: the owner may have come back since, to a new daemon.
  if (found->stop == reason.kind) return;
  found->stop = reason.kind;
  const int number = World::job_of(job);
  if (reason.kind == StopKind::timeout) {
    const Facts& of = facts(job);
    if (of.executed == 0 || !found->info.time || world_.now() < of.executed_at + *found->info.time)
      return fail("job " + job.str() + " is stopped before its time has passed");
    may_end(number, reason.kind);
  } else if (reason.kind == StopKind::owner_lost) {
    const bool alone = found->info.owner_lease && !found->connected && !found->suspended &&
                       world_.now() >= found->alone_since + *found->info.owner_lease;
    if (!alone && !world_.clients.owner_is_gone(number))
      return fail("job " + job.str() + " is stopped, and its owner is there");
    may_end(number, reason.kind);
  } else if (reason.kind == StopKind::daemon_stopped && daemon_ends_jobs_) {
    may_end(number, reason.kind);
  }
}

void Oracle::follow(const engine::Record& record) {
  using namespace engine::record;
  if (const auto* asked = std::get_if<StopAsked>(&record)) {
    asked_to_stop(asked->attempt.job, asked->reason);
  } else if (const auto* over = std::get_if<JobEnded>(&record)) {
    if (over->report.attempt == 0) asked_to_stop(over->job, over->report.reason);
    unclaim(over->job);
    if (std::erase_if(live_, [&](const Live& live) { return live.info.id == over->job; }) == 0)
      fail("job " + over->job.str() + " ends twice");
  } else if (const auto* dropped = std::get_if<AttemptDropped>(&record)) {
    unclaim(dropped->attempt.job);
  } else if (std::holds_alternative<AttemptAdded>(record) && (draining_ || shutting_down_)) {
    fail("an attempt is made while draining");
  }
}

void Oracle::follow(const engine::Act& act) {
  using namespace engine::act;
  if (const auto* acquire = std::get_if<Acquire>(&act)) {
    if (draining_ || shutting_down_) fail("something is acquired while draining");
    claim(acquire->attempt, acquire->leases);
    for (Live& live : live_) {
      if (live.info.id != acquire->attempt.job) continue;
      if (live.acquiring || live.active) fail("attempt " + acquire->attempt.str() + " is acquired twice");
      live.acquiring = true;
      live.leases = acquire->leases;
    }
  } else if (const auto* abandon = std::get_if<Abandon>(&act)) {
    unclaim(abandon->attempt.job);
  } else if (const auto* watch = std::get_if<Watch>(&act)) {
    if (!watched_.emplace(watch->is_port, watch->id).second) fail("a device is watched twice");
  } else if (const auto* unwatch = std::get_if<Unwatch>(&act)) {
    if (watched_.erase({unwatch->is_port, unwatch->id}) == 0)
      fail("a device is unwatched that nobody watches");
  }
}

// Every job is there until its end has been decided, and no longer; in its place, with its leases.
void Oracle::check_views() {
  const engine::Engine& engine = world_.daemon.engine();
  std::int64_t queued = 0, occupied = 0, memory = 0;
  std::size_t active = 0;
  for (const Live& live : live_) {
    const auto view = engine.find(live.info.id);
    if (!view) return fail("job " + live.info.id.str() + " is lost");
    if (view->state >= JobState::completed)
      return fail("job " + live.info.id.str() + " is live in a last state");
    if ((view->state != JobState::queued) != live.active)
      return fail("job " + live.info.id.str() + " is in another state than it was brought to");
    if (!view->stop_reason && view->state != JobState::releasing) {
      // What is due by time comes soon after it; a job without an owner is known since `alone_since`.
      using namespace std::chrono_literals;
      const Moment now = world_.now();
      const bool alone = live.info.owner_lease && !live.connected && !live.suspended;
      if (alone && now > std::max(live.alone_since + *live.info.owner_lease, live.told_so) + 1s)
        return fail("job " + live.info.id.str() + " goes on, and its owner has gone");
      const Facts& of = facts(live.info.id);
      const bool limited = view->state == JobState::running && live.info.time && !live.info.owner_lease;
      if (limited && of.executed > 0 &&
          now > std::max(of.executed_at + *live.info.time, live.alone_since) + 30s)
        return fail("job " + live.info.id.str() + " goes on, and its time has passed");
    }
    if (live.active || live.acquiring) {
      ++occupied;
      memory += live.leases.memory_bytes;
    }
    if (live.active) {
      ++active;
      if (view->leases.gpus != live.leases.gpus || view->leases.ports != live.leases.ports)
        return fail("job " + live.info.id.str() + " has other leases than it was given");
    } else if (engine.position(live.info.id) != ++queued) {
      return fail("job " + live.info.id.str() + " is not at position " + std::to_string(queued));
    }
  }
  if (engine.active().size() != active) return fail("the engine has jobs that nobody submitted");
  if (engine.queued_count() != queued) return fail("the engine counts other jobs than wait");
  if (memory > world_.plan.machine.memory_bytes) return fail("more memory is given than there is");
  // What an earlier daemon started may be more than this one would.
  if (occupied > world_.plan.limits.max_running) fail("more jobs run than may");
}

}  // namespace ebb::simulation
