#include <algorithm>

#include "keepers.h"
#include "world.h"

// What a keeper does, step by step as modules/process/src/keeper_loop.cc does it.
namespace ebb::simulation {
namespace {

using namespace std::chrono_literals;

using Phase = Keeper::Phase;
using Cause = EndRecord::Cause;

constexpr Duration kOrphanGrace = 2s;
constexpr Duration kKillTimeout = 5s;
constexpr Duration kDaemonGone = 60s;

bool ending(const Keeper& keeper) { return keeper.phase >= Phase::terminating; }

}  // namespace

// One turn of its loop.
void Keepers::look(int number) {
  Keeper& keeper = (*this)[number];
  if (!keeper.alive || keeper.stopped || !keeper.listening) return;
  while (keeper.alive && !keeper.in.empty() && keeper.in.front().at <= world_.now()) {
    const Command command = std::move(keeper.in.front());
    keeper.in.pop_front();
    take(number, command);
  }
  if (keeper.alive) watch_daemon(number);
  if (keeper.alive) advance(number);
}

void Keepers::take(int number, const Command& command) {
  Keeper& keeper = (*this)[number];
  switch (command.kind) {
    case Command::Kind::hello: {
      const bool over = keeper.phase == Phase::at_end || keeper.phase == Phase::stuck;
      Message welcome{.kind = Message::Kind::welcome};
      welcome.lives = keeper.knows_start && !keeper.knows_exit && !over;
      if (keeper.knows_start) welcome.started = keeper.tree.executed_at;
      (void)send(number, welcome);
      if (over) (void)send(number, {.kind = Message::Kind::ended, .record = keeper.record});
      return;
    }
    case Command::Kind::stop:
      if (!keeper.stop_requested) keeper.record.stop_reason = command.reason;
      return request_end(number, Cause::stop, command.grace);
    case Command::Kind::fetch_locks:
      // The descriptors are on their way, and hold the locks meanwhile.
      if (!send(number, {.kind = Message::Kind::locks})) return;
      for (const int gpu : keeper.leases.gpus) ++world_.machine.device(false, gpu).lock.passed;
      for (const int port : keeper.leases.ports) ++world_.machine.device(true, port).lock.passed;
      return;
    case Command::Kind::ack:
      if (keeper.phase == Phase::at_end) exit(number);
      return;
    case Command::Kind::disown:
      keeper.attached = keeper.owner_gone = false;
      return;
  }
}

void Keepers::watch_daemon(int number) {
  Keeper& keeper = (*this)[number];
  if (keeper.life != 0) {
    keeper.alone_since.reset();
    return;
  }
  if (!keeper.alone_since) {
    keeper.alone_since = world_.now();
    if (keeper.attached) world_.scheduler.after(kDaemonGone, What::keeper_looks, 0, number);
  }
  if (ending(keeper) || !keeper.attached) return;
  if (keeper.owner_gone) {
    world_.oracle.may_end(keeper.job, model::StopKind::owner_lost);
    request_end(number, Cause::owner_gone, world_.program(keeper.job).grace);
  } else if (world_.now() >= *keeper.alone_since + kDaemonGone) {
    world_.oracle.may_end(keeper.job, model::StopKind::daemon_stopped);
    request_end(number, Cause::daemon_gone, world_.program(keeper.job).grace);
  }
}

void Keepers::request_end(int number, Cause cause, Duration grace) {
  Keeper& keeper = (*this)[number];
  if (keeper.phase == Phase::at_end || keeper.phase == Phase::stuck) return;
  const Moment kill_at = world_.now() + grace;
  if (!keeper.stop_requested) {
    keeper.stop_requested = true;
    if (!ending(keeper)) keeper.record.cause = cause;
  }
  if (keeper.phase == Phase::killing) return;
  if (grace == Duration{} && keeper.phase != Phase::terminating) return kill_now(number);
  const bool first = !keeper.kill_at.has_value();
  keeper.kill_at = std::min(keeper.kill_at.value_or(kill_at), kill_at);
  world_.scheduler.at(*keeper.kill_at, What::keeper_looks, 0, number);
  if (!first || keeper.phase == Phase::starting) return;
  keeper.phase = Phase::terminating;
  const Program& program = world_.program(keeper.job);
  if (!program.ignores_term) world_.scheduler.after(program.obeys_in, What::tree_obeys, 0, number);
}

void Keepers::start_failed(int number) {
  Keeper& keeper = (*this)[number];
  // A stop that came first stays the cause.
  if (!keeper.stop_requested) {
    keeper.record.cause = Cause::start_failure;
    keeper.record.exit.code = 127;
  }
  kill_now(number);
}

void Keepers::kill_now(int number) {
  Keeper& keeper = (*this)[number];
  keeper.phase = Phase::killing;
  keeper.give_up_at = world_.now() + kKillTimeout;
  world_.scheduler.at(*keeper.give_up_at, What::keeper_looks, 0, number);
  world_.scheduler.after(200us, What::keeper_looks, 0, number);
  kill_tree(number);
}

void Keepers::write_record(int number, bool complete) {
  Keeper& keeper = (*this)[number];
  keeper.record.complete = complete;
  keeper.recorded = true;
  keeper.phase = complete ? Phase::at_end : Phase::stuck;
  if (world_.trace.on())
    world_.say("the keeper of " + keeper.attempt.str() +
               (complete ? " writes its record" : " tells of survivors"));
  (void)send(number, {.kind = Message::Kind::ended, .record = keeper.record});
}

// What has become of the tree, and of its own deadlines.
void Keepers::advance(int number) {
  Keeper& keeper = (*this)[number];
  const Moment now = world_.now();
  Tree& tree = keeper.tree;
  if (tree.executed && !keeper.knows_start) {
    keeper.knows_start = true;
    (void)send(number, {.kind = Message::Kind::started, .started = tree.executed_at, .record = {}});
    if (keeper.phase == Phase::starting) {
      keeper.phase = keeper.kill_at ? Phase::terminating : Phase::running;
      const Program& program = world_.program(keeper.job);
      if (keeper.kill_at && !program.ignores_term)
        world_.scheduler.after(program.obeys_in, What::tree_obeys, 0, number);
    }
  }
  if (tree.failed && !ending(keeper)) return start_failed(number);
  if (keeper.knows_start && !tree.leader && !keeper.knows_exit) {
    keeper.knows_exit = true;
    keeper.record.exit = tree.exit;
    keeper.record.leader_exited = tree.leader_exited_at;
    if (!ending(keeper)) {
      keeper.record.cause = Cause::leader_exit;
      keeper.phase = Phase::terminating;
      keeper.kill_at = now + kOrphanGrace;
      world_.scheduler.at(*keeper.kill_at, What::keeper_looks, 0, number);
      const Program& program = world_.program(keeper.job);
      if (!tree.empty() && !program.ignores_term)
        world_.scheduler.after(program.obeys_in, What::tree_obeys, 0, number);
    }
  }
  if (keeper.phase == Phase::starting && keeper.kill_at && now >= *keeper.kill_at) return kill_now(number);
  if (!ending(keeper) || keeper.phase == Phase::at_end) return;
  if (tree.empty()) return write_record(number, true);
  if (keeper.phase == Phase::terminating && now >= *keeper.kill_at) return kill_now(number);
  if (keeper.phase == Phase::killing && now >= *keeper.give_up_at) write_record(number, false);
}

}  // namespace ebb::simulation
