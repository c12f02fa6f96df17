#include <algorithm>

#include "daemon.h"
#include "world.h"

// The loop around the engine: modules/daemon/src/shell*.cc.
namespace ebb::simulation {

using namespace std::chrono_literals;

// ---- its life

bool Daemon::step() {
  if (!alive_) return false;
  if (steps_left_ && (*steps_left_)-- == 0) crash();
  return alive_;
}

void Daemon::crash() {
  if (!alive_) return;
  if (world_.trace.on()) world_.say("the daemon dies");
  alive_ = false;
  steps_left_.reset();
  world_.disk.daemon_dies();
  world_.machine.daemon_dies();
  world_.keepers.daemon_dies();
  world_.clients.daemon_dies();
  world_.oracle.daemon_dies();
  const bool long_pause = world_.plan.has(Fault::crash) && world_.random.chance(10);
  world_.scheduler.after(long_pause ? world_.random.between(10s, 80s) : world_.random.between(1ms, 2s),
                         What::daemon_starts);
}

void Daemon::happen(const Happening& happening) {
  if (happening.what == What::daemon_starts) return alive_ ? void() : start();
  if (!alive_ || happening.epoch != world_.life) return;
  switch (happening.what) {
    case What::daemon_turn:
      return turn();
    case What::daemon_tick:
      if (static_cast<std::uint32_t>(happening.subject) == tick_) tell(engine::Tick{});
      return;
    case What::daemon_retry:
      if (committing_) commit();
      return;
    case What::daemon_company:
      waits_for_company_ = false;
      gathering_.urgent = true;
      return flush();
    case What::daemon_answers:
      return submitted(answers_[static_cast<std::size_t>(happening.subject)].first,
                       answers_[static_cast<std::size_t>(happening.subject)].second);
    case What::device_look:
      return look_at(happening.detail);
    default:
      return attempts_[static_cast<std::size_t>(happening.subject)].happen(happening);
  }
}

// ---- events

void Daemon::tell(engine::Event event) {
  if (!step()) return;
  events_.push_back(std::move(event));
  if (std::exchange(scheduled_, true)) return;
  world_.scheduler.after(world_.random.between(1us, 50us), What::daemon_turn, world_.life);
}

void Daemon::apply(engine::Event event) {
  if (!step()) return;
  events_.push_back(std::move(event));
  turn();
}

void Daemon::turn() {
  scheduled_ = true;
  while (alive_ && !events_.empty()) {
    const engine::Event event = std::move(events_.front());
    events_.pop_front();
    engine::Actions actions = engine_->apply(event, {.boot = world_.boot(), .wall = world_.wall()});
    ++world_.events;
    world_.oracle.applied(event, actions);
    take(std::move(actions));
  }
  scheduled_ = false;
  if (!alive_) return;
  world_.oracle.all_told();
  flush();
  arm_timer();
  end_if_idle();
}

void Daemon::take(engine::Actions actions) {
  for (const engine::Act& act : actions.now) carry_out(act);
  const bool waits = committing_ || !gathering_.empty();
  const bool nothing = actions.records.empty();
  for (engine::Record& record : actions.records) {
    if (!step()) return;
    if (const auto* added = std::get_if<engine::record::JobAdded>(&record)) {
      const int job = World::job_of(added->job);
      const auto found = std::ranges::find(submissions_, job, &Submission::job);
      gathering_.unanswered.push_back(*found);
      gathering_.batch.emplace_back(AddJob{.job = job,
                                           .info = world_.jobs[static_cast<std::size_t>(job)].info,
                                           .has_key = world_.clients.has_key(found->client)});
      gathering_.urgent = true;
    } else if (!std::holds_alternative<engine::record::Note>(record)) {  // notes are for /v1/events only
      gathering_.urgent |= !std::holds_alternative<engine::record::AttemptRunning>(record);
      gathering_.batch.emplace_back(std::move(record));
    }
  }
  if ((nothing && !waits) || world_.plan.mutant == Mutant::starts_early) {
    for (const engine::Act& act : actions.then) carry_out(act);
  } else {
    gathering_.urgent |= !actions.then.empty();
    std::ranges::move(actions.then, std::back_inserter(gathering_.then));
  }
}

void Daemon::arm_timer() {
  ++tick_;
  const auto due = engine_->next_deadline();
  if (!due || world_.plan.mutant == Mutant::never_ticks) return;
  world_.scheduler.at(world_.moment(*due), What::daemon_tick, world_.life, static_cast<std::int32_t>(tick_));
}

// ---- commits

void Daemon::Pending::drop(JobId job) {
  // As modules/daemon/src/pending.cc: everything about it.
  const auto of = [](const auto& one) -> std::optional<JobId> {
    if constexpr (requires { one.attempt.job; }) {
      return one.attempt.job;
    } else if constexpr (requires { one.info.id; }) {
      return one.info.id;
    } else if constexpr (requires { one.job; }) {
      return one.job;
    } else {
      return std::nullopt;
    }
  };
  const auto is_its = [&](const auto& any) {
    return std::visit([&](const auto& one) { return of(one) == job; }, any);
  };
  std::erase_if(batch, [&](const Write& write) {
    const auto* added = std::get_if<AddJob>(&write);
    return added != nullptr ? added->info.id == job : is_its(std::get<engine::Record>(write));
  });
  std::erase_if(then, is_its);
}

void Daemon::flush() {
  if (!alive_ || committing_ || gathering_.empty()) return;
  if (!gathering_.urgent) {
    if (!std::exchange(waits_for_company_, true))
      world_.scheduler.after(5ms, What::daemon_company, world_.life);
    return;
  }
  committing_ = std::exchange(gathering_, {});
  commit();
}

void Daemon::commit() {
  if (step()) world_.disk.commit(committing_->batch);
}

void Daemon::committed(Disk::Outcome outcome) {
  if (!step()) return;
  if (outcome == Disk::Outcome::fatal) return crash();
  if (outcome == Disk::Outcome::failed && world_.plan.mutant != Mutant::drops_failed) {
    disk_error_ = committing_->unanswered.empty();
    refuse_new_jobs();
    if (!alive_) return;
    return disk_error_ ? world_.scheduler.after(500ms, What::daemon_retry, world_.life) : commit();
  }
  disk_error_ = false;
  const Pending done = std::move(*committing_);
  committing_.reset();
  for (const engine::Act& act : done.then) carry_out(act);
  for (const Submission& one : done.unanswered) answer(one, true);
  flush();
  end_if_idle();
}

void Daemon::answer(const Submission& submission, bool done) {
  if (!step()) return;
  answers_.emplace_back(submission, done);
  world_.scheduler.after(world_.random.between(1us, 50us), What::daemon_answers, world_.life,
                         static_cast<std::int32_t>(answers_.size()) - 1);
}

void Daemon::refuse_new_jobs() {
  for (Pending* const pending : {&*committing_, &gathering_}) {
    for (const Submission& one : std::exchange(pending->unanswered, {})) {
      const JobId job = world_.jobs[static_cast<std::size_t>(one.job)].info.id;
      committing_->drop(job);
      gathering_.drop(job);
      watched_owners_.erase(one.job);
      events_.push_front(engine::NotRecorded{job});
      answer(one, false);
    }
  }
  if (alive_) turn();
}

// Daemon::shutdown() waits for this, then leaves what is left to the keepers.
void Daemon::end_if_idle() {
  if (alive_ && stopping_ && (keeping_ || engine_->idle()) && settled()) crash();
}

bool Daemon::settled() const { return events_.empty() && !committing_ && gathering_.batch.empty(); }

bool Daemon::at_rest() const { return alive_ && settled() && gathering_.empty() && submissions_.empty(); }

// ---- actions

Attempt* Daemon::attempt(JobId job) {
  const auto found = std::ranges::find(current_, job, &std::pair<JobId, int>::first);
  return found == current_.end() ? nullptr : &attempts_[static_cast<std::size_t>(found->second)];
}

void Daemon::make_room_for(const engine::Leases& leases) {
  for (Attempt& one : attempts_) one.make_room_for(leases);
}

Attempt& Daemon::add_attempt(AttemptId id, const engine::Leases& leases) {
  const int place = static_cast<int>(attempts_.size());
  std::erase_if(current_, [&](const auto& known) { return known.first == id.job; });
  current_.emplace_back(id.job, place);
  return attempts_.emplace_back(world_, place, id, World::job_of(id.job), leases);
}

void Daemon::carry_out(const engine::Act& act) {
  using namespace engine::act;
  if (!step()) return;
  world_.oracle.carried_out(act);
  const auto forget = [this](JobId job) {
    std::erase_if(current_, [&](const auto& known) { return known.first == job; });
  };
  if (const auto* acquire = std::get_if<Acquire>(&act)) {
    add_attempt(acquire->attempt, acquire->leases).acquire();
  } else if (const auto* abandon = std::get_if<Abandon>(&act)) {
    if (Attempt* const found = attempt(abandon->attempt.job)) found->abandon();
    forget(abandon->attempt.job);
  } else if (const auto* start = std::get_if<Start>(&act)) {
    if (Attempt* const found = attempt(start->attempt.job)) found->start();
  } else if (const auto* stop = std::get_if<Stop>(&act)) {
    if (Attempt* const found = attempt(stop->attempt.job)) found->stop(stop->reason, stop->grace);
  } else if (const auto* disown = std::get_if<Disown>(&act)) {
    if (Attempt* const found = attempt(disown->attempt.job)) found->disown();
  } else if (const auto* release = std::get_if<Release>(&act)) {
    if (Attempt* const found = attempt(release->attempt.job)) found->release(*release);
  } else if (const auto* finish = std::get_if<Finish>(&act)) {
    if (Attempt* const found = attempt(finish->attempt.job)) found->finish();
    forget(finish->attempt.job);
  } else if (const auto* watch = std::get_if<Watch>(&act)) {
    watches_.push_back({.is_port = watch->is_port, .id = watch->id, .number = ++watch_number_});
    world_.scheduler.after(10ms, What::device_look, world_.life, 0, watch_number_);
  } else if (const auto* unwatch = std::get_if<Unwatch>(&act)) {
    std::erase_if(watches_, [&](const Watched& one) {
      return one.is_port == unwatch->is_port && one.id == unwatch->id;
    });
  }
}

// DeviceWatches: a device that is free at the first look is believed one look later, for it was refused just
// before.
void Daemon::look_at(std::int32_t number) {
  const auto watch = std::ranges::find(watches_, number, &Watched::number);
  if (watch == watches_.end()) return;
  Device& device = world_.machine.device(watch->is_port, watch->id);
  const bool first = watch->looks++ == 0;
  const bool locked = device.lock.daemon == 0 && !device.lock.free();
  const bool free =
      !locked && (watch->is_port ? !world_.machine.port_is_used(device)
                                 : world_.machine.look(device, std::nullopt) == Machine::Verdict::free);
  world_.scheduler.after(1s, What::device_look, world_.life, 0, number);
  if (first) {
    watch->believed = free;
  } else if (free || watch->believed) {
    tell(engine::DeviceChanged{watch->is_port, watch->id, model::DeviceState::free, "looked", {}});
  }
}

// ---- from outside

void Daemon::daemon_hears(const Happening& happening) {
  Keeper& keeper = world_.keepers[happening.subject];
  if (!alive_ || keeper.life != world_.life || keeper.link != happening.epoch || keeper.out.empty()) return;
  if (!step()) return;
  const Message message = std::move(keeper.out.front());
  keeper.out.pop_front();
  for (Attempt& one : attempts_)
    if (one.keeper() == happening.subject) return one.hears(message);
}

void Daemon::keeper_came(int keeper) {
  if (!alive_) return;
  for (Attempt& one : attempts_)
    if (one.id() == world_.keepers[keeper].attempt) one.keeper_came();
}

void Daemon::tree_emptied(int keeper) {
  if (!alive_) return;
  for (Attempt& one : attempts_)
    if (one.keeper() == keeper) one.tree_emptied();
}

}  // namespace ebb::simulation
