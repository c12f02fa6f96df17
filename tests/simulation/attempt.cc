#include "attempt.h"

#include <algorithm>

#include "world.h"

// Its life, from the engine's first action to its last; modules/daemon/src/attempt.cc.
namespace ebb::simulation {

using namespace std::chrono_literals;

Attempt::Attempt(World& world, int place, AttemptId id, int job, engine::Leases leases)
    : world_(world), place_(place), id_(id), job_(job), leases_(std::move(leases)) {}

void Attempt::tell(engine::Event event) { world_.daemon.tell(std::move(event)); }

void Attempt::later(Duration wait, What what, std::int32_t detail) {
  world_.scheduler.after(wait, what, world_.life, place_, detail);
}

void Attempt::happen(const Happening& happening) {
  switch (happening.what) {
    case What::gpu_answer:
      return gpu_answer(happening);
    case What::gpu_release:
      return gpu_release(static_cast<std::size_t>(happening.detail));
    case What::release_done:
      return report();
    case What::gpu_watch:
      watching_ = false;
      look_at_quarantined();
      return watch_quarantined();
    case What::answer_late:
      if (happening.detail != answer_turn_ || unanswered_ == 0) return;
      expect_nothing();
      return lost(linked_ ? Loss::unanswered : Loss::exited);
    case What::end_late:
      if (happening.detail != end_turn_ || !end_due_) return;
      expect_nothing();
      return lost(Loss::overdue);
    case What::arrival_late:
      if (arriving_) settle(arriving_as_);
      return;
    case What::hunt_over:
    case What::hunt_late: {
      const bool empty = happening.what == What::hunt_over;
      if (!hunting_ || (end_ && (!empty || end_->complete))) return;
      EndRecord record;
      record.complete = empty;
      engine::Ended ended{.attempt = id_,
                          .exit = {},
                          .reason = {model::StopKind::keeper_lost, "daemon", {}},
                          .exited_at = {}};
      ended.exited_at = hunted_since_;
      ended.unanswered = hunted_for_ == Loss::unanswered;
      return over(std::move(record), std::move(ended));
    }
    case What::places_removed:
      if (keeper_ >= 0) world_.keepers[keeper_].folder = false;
      return tell(engine::NeverStarted{id_});
    case What::ready_answer:
      if (happening.detail != ready_turn_) return;
      if (world_.program(job_).gets_ready) return tell(engine::BecameReady{id_});
      world_.oracle.may_end(job_, model::StopKind::start_failed);
      return tell(engine::ReadyFailed{id_, "not ready"});
    default:
      return;
  }
}

// ---- start

void Attempt::start() {
  world_.oracle.starts(id_, leases_);
  if (world_.strikes(Fault::no_start, 4)) {
    end_ = EndRecord{.cause = EndRecord::Cause::start_failure, .complete = true};
    end_->exit.code = 125;
    world_.oracle.may_end(job_, model::StopKind::start_failed);
    return tell({engine::Ended{id_, end_->exit, {model::StopKind::start_failed, {}, {}}, std::nullopt}});
  }
  const Program& program = world_.program(job_);
  const bool attached = program.owner_lease.has_value() && !disowned_;
  world_.daemon.make_room_for(leases_);
  linked(world_.keepers.fork(id_, job_, leases_, attached), true);
}

void Attempt::started(std::optional<Moment> at) {
  tell(engine::Started{id_, 100 + job_, at ? std::optional(world_.boot(*at)) : std::nullopt});
  if (!world_.program(job_).waits_for_ready) return;
  later(world_.random.between(1ms, 5s), What::ready_answer, ++ready_turn_);
}

void Attempt::stop(const model::StopReason& reason, Duration grace) {
  ++ready_turn_;
  if (end_ || !linked_ || world_.plan.mutant == Mutant::drops_stops) return;
  if (!asked_) asked_ = reason;
  if (!world_.keepers[keeper_].alive) return;  // the connection's end is on its way
  world_.keepers.command(keeper_, {.kind = Command::Kind::stop, .reason = reason, .grace = grace});
  world_.keepers.command(keeper_, {.kind = Command::Kind::hello});
  expect_answer(5s);
  expect_end(grace + 5s + 5s);
}

void Attempt::disown() {
  disowned_ = true;
  if (linked_) world_.keepers.command(keeper_, {.kind = Command::Kind::disown});
}

// ---- the end

void Attempt::tree_ended(engine::Ended event) {
  ++ready_turn_;
  if (finished_) {
    if (end_->complete) emptied();
  } else if (waiting_release_) {
    releasing_ = std::exchange(waiting_release_, std::nullopt);
    run_releases();
  } else {
    tell(std::move(event));
  }
}

void Attempt::let_keeper_go() {
  if (!linked_) return;
  world_.keepers.command(keeper_, {.kind = Command::Kind::ack});
  expect_end(5s);
}

// A keeper that should have left by now, and cannot, holds the locks that the next one shares.
void Attempt::make_room_for(const engine::Leases& leases) {
  const auto shared = [](const std::vector<int>& ours, const std::vector<int>& theirs) {
    return std::ranges::find_first_of(ours, theirs) != ours.end();
  };
  if (!shared(leases_.gpus, leases.gpus) && !shared(leases_.ports, leases.ports)) return;
  if (finished_ && linked_ && end_ && end_->complete) world_.keepers.kill(keeper_);
}

void Attempt::emptied() {
  let_keeper_go();
  look_at_quarantined();
  if (!linked_) clean_up();
}

void Attempt::keep_quarantined() {
  const auto held = locks_;
  bool leaves_one = world_.plan.mutant == Mutant::keeps_locks;
  for (const auto& device : held) {
    if (!device.first && quarantine_.contains(device.second)) continue;
    if (!std::exchange(leaves_one, false)) give_back(device.first, device.second);
  }
}

void Attempt::clean_up() {
  if (!world_.daemon.step() || (end_ && !end_->complete)) return;
  keep_quarantined();
  if (keeper_ >= 0) world_.keepers[keeper_].folder = false;
}

void Attempt::watch_quarantined() {
  for (const int id : quarantine_) (void)take(false, id);  // a neighbour may have had it
  if (!quarantine_.empty() && !std::exchange(watching_, true)) later(5s, What::gpu_watch);
}

void Attempt::release(const engine::act::Release& release) {
  if (end_awaited()) {
    waiting_release_ = release;
    return;
  }
  if (!end_) end_ = EndRecord{.complete = true};
  releasing_ = release;
  run_releases();
}

void Attempt::finish() {
  finished_ = true;
  if (!end_->complete) keep_quarantined();
  if (!world_.daemon.step()) return;
  if (end_->complete) let_keeper_go();
  if (!linked_) clean_up();
  watch_quarantined();
}

// ---- recovery

void Attempt::adopt(std::uint32_t boot, model::JobState state) {
  if (boot == world_.boot_number) return settle(state);
  take_all();
  end_ = EndRecord{.complete = true};
  world_.oracle.may_end(job_, model::StopKind::reboot);
  if (state != model::JobState::releasing)
    tell({engine::Ended{id_, {}, {model::StopKind::reboot, {}, {}}, std::nullopt}});
}

// Its places are made anew when it is started again, under the same number.
void Attempt::never_began() {
  give_back_all();
  later(world_.random.between(100us, 50ms), What::places_removed);
}

void Attempt::adopt_lingering(const std::vector<int>& quarantined) {
  finished_ = true;
  quarantine_.insert(quarantined.begin(), quarantined.end());
  if (world_.plan.mutant != Mutant::looks_once) watch_quarantined();
  keeper_ = world_.keepers.find(id_);
  const bool waits = keeper_ >= 0 && take_up_lingering();
  if (!linked_) take_all();
  if (!waits) clean_up();
}

}  // namespace ebb::simulation
