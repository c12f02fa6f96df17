#include <algorithm>

#include "attempt.h"
#include "world.h"

// Its process tree as the daemon sees it: modules/daemon/src/{kept_tree,keeper_session,lost_tree}.cc.
namespace ebb::simulation {
namespace {

using namespace std::chrono_literals;
using model::StopKind;
using Cause = EndRecord::Cause;

model::StopReason reason_of(const EndRecord& end) {
  switch (end.cause) {
    case Cause::start_failure:
      return {StopKind::start_failed, {}, {}};
    case Cause::stop:
      return end.stop_reason;
    case Cause::daemon_gone:
      return {StopKind::daemon_stopped, "keeper", {}};
    case Cause::owner_gone:
      return {StopKind::owner_lost, "keeper", {}};
    case Cause::leader_exit:
      break;
  }
  return {end.exit.code == 0 ? StopKind::completed : StopKind::failed, {}, {}};
}

}  // namespace

void Attempt::linked(int keeper, bool child) {
  keeper_ = keeper;
  linked_ = true;
  child_ = child;
  if (child) return;
  world_.keepers.connect(keeper);
  expect_answer(5s);
}

void Attempt::expect_answer(Duration within) {
  if (unanswered_++ > 0) return;  // an earlier request's time goes on
  later(within, What::answer_late, ++answer_turn_);
}

void Attempt::expect_end(Duration within) {
  const Moment due = world_.now() + within;
  if (end_due_ && *end_due_ <= due) return;
  end_due_ = due;
  later(within, What::end_late, ++end_turn_);
}

void Attempt::expect_nothing() {
  unanswered_ = 0;
  end_due_.reset();
}

void Attempt::hears(const Message& message) {
  if (message.kind == Message::Kind::locks) {
    // Both have them from here on; the message itself has held them since it was sent.
    const auto take_over = [&](bool is_port, int id, bool wanted) {
      const bool keeps = linked_ && wanted && locks_.emplace(is_port, id).second;
      world_.machine.receive(world_.machine.device(is_port, id), keeps);
    };
    const Keeper& keeper = world_.keepers[keeper_];
    for (const int gpu : keeper.leases.gpus)
      take_over(false, gpu,
                std::ranges::count(leases_.gpus, gpu) > 0 && (!finished_ || quarantine_.contains(gpu)));
    for (const int port : keeper.leases.ports) take_over(true, port, !finished_);
    return;
  }
  if (!linked_) return;
  switch (message.kind) {
    case Message::Kind::welcome:
      if (unanswered_ > 0) --unanswered_;
      if (message.lives && !asked_) started(message.started);
      return;
    case Message::Kind::started:
      return started(message.started);
    case Message::Kind::ended:
      return over(message.record);
    case Message::Kind::closed:
      linked_ = false;
      reaped_ = child_;
      expect_nothing();
      return lost(Loss::exited);
    case Message::Kind::locks:
      return;
  }
}

// By the keeper's word, or by what the daemon found where `lost` says that the keeper was lost.
void Attempt::over(EndRecord record, std::optional<engine::Ended> lost) {
  const bool known = end_.has_value();
  if (known && end_->complete) return;
  end_ = std::move(record);
  expect_nothing();
  if (!known) {
    engine::Ended ended{.attempt = id_, .exit = end_->exit, .reason = reason_of(*end_), .exited_at = {}};
    if (end_->leader_exited) ended.exited_at = world_.boot(*end_->leader_exited);
    tree_ended(lost ? std::move(*lost) : std::move(ended));
  } else if (end_->complete && finished_) {
    emptied();
  }
}

void Attempt::lost(Loss how) {
  const bool known = end_ && end_->complete;
  const bool may_live = !reaped_ && (!known || how != Loss::exited);
  if (may_live && keeper_ >= 0) world_.keepers.kill(keeper_);
  if (!world_.daemon.step()) return;
  if (!known) {
    take_all();  // what it has not handed over
    if (keeper_ >= 0 && world_.keepers[keeper_].recorded && world_.keepers[keeper_].record.complete) {
      over(world_.keepers[keeper_].record);
    } else {
      kill(how);
    }
  }
  if (finished_ && !linked_) clean_up();
}

void Attempt::kill(Loss how) {
  if (std::exchange(hunting_, true)) return;
  hunted_for_ = how;
  hunted_since_ = world_.boot();
  if (keeper_ >= 0) world_.keepers.kill_tree(keeper_);
  if (keeper_ < 0 || world_.keepers[keeper_].tree.empty()) return later(100us, What::hunt_over);
  later(5s, What::hunt_late);
}

void Attempt::tree_emptied() {
  if (hunting_) later(100us, What::hunt_over);
}

// ---- recovery

// False where its keeper is gone and nothing of the tree is left.
bool Attempt::take_up_lingering() {
  const Keeper& keeper = world_.keepers[keeper_];
  const EndRecord until_it_says_better{.complete = false};
  if (keeper.alive && keeper.listening) {
    end_ = until_it_says_better;
    linked(keeper_, false);
    return true;
  }
  if ((keeper.recorded && keeper.record.complete) || keeper.tree.empty()) return false;
  end_ = until_it_says_better;
  kill(Loss::exited);
  return true;
}

void Attempt::keeper_came() {
  if (arriving_) settle(arriving_as_);
}

void Attempt::settle(model::JobState state) {
  keeper_ = world_.keepers.find(id_);
  const Keeper* const keeper = keeper_ < 0 ? nullptr : &world_.keepers[keeper_];
  const bool forgotten = world_.plan.mutant == Mutant::forgets_keepers;
  if (keeper && keeper->alive && keeper->listening && !forgotten) {
    arriving_ = false;
    linked(keeper_, false);
    if (disowned_) world_.keepers.command(keeper_, {.kind = Command::Kind::disown});
    return;
  }
  const bool coming = keeper && keeper->alive && !keeper->listening && !forgotten;
  if (coming && !arriving_) {
    arriving_ = true;
    arriving_as_ = state;
    return later(5s, What::arrival_late);
  }
  arriving_ = false;
  take_all();
  const bool never = !keeper || !keeper->listening || forgotten;
  if (keeper && keeper->recorded && keeper->record.complete) {
    over(keeper->record);
  } else if (never && !coming && state == model::JobState::starting) {
    never_began();
  } else if (never && !coming && state == model::JobState::releasing) {
    over({.complete = true});
  } else {
    lost(coming ? Loss::unanswered : Loss::exited);
  }
}

}  // namespace ebb::simulation
