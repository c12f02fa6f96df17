#include "keepers.h"

#include <algorithm>

#include "world.h"

// What is done to keepers, and what happens to them; what they do about it stands in keeper_loop.cc.
namespace ebb::simulation {

using namespace std::chrono_literals;

int Keepers::find(AttemptId attempt) const {
  for (int i = count(); i-- > 0;) {
    const Keeper& keeper = keepers_[static_cast<std::size_t>(i)];
    if (keeper.attempt == attempt && keeper.folder && keeper.boot == world_.boot_number) return i;
  }
  return -1;
}

int Keepers::fork(AttemptId attempt, int job, const engine::Leases& leases, bool attached) {
  const int number = count();
  Keeper& keeper = keepers_.emplace_back();
  keeper.attempt = attempt;
  keeper.job = job;
  keeper.leases = leases;
  keeper.boot = world_.boot_number;
  keeper.attached = attached;
  keeper.owner_gone = attached && world_.clients.owner_is_gone(job);
  keeper.life = world_.life;
  keeper.link = 1;
  for (const int gpu : leases.gpus) ++world_.machine.device(false, gpu).lock.keepers;
  for (const int port : leases.ports) ++world_.machine.device(true, port).lock.keepers;
  const bool slow = world_.strikes(Fault::slow_start, 4);
  world_.scheduler.after(slow ? world_.random.between(100ms, 8s) : world_.random.between(200us, 3ms),
                         What::keeper_listens, 0, number);
  if (slow) world_.oracle.may_end(job, model::StopKind::keeper_lost);
  world_.fate_of_keeper(number);
  return number;
}

void Keepers::connect(int number) {
  Keeper& keeper = (*this)[number];
  keeper.life = world_.life;
  ++keeper.link;
  keeper.out.clear();
  command(number, {.kind = Command::Kind::hello});
  command(number, {.kind = Command::Kind::fetch_locks});
}

void Keepers::command(int number, Command command) {
  Keeper& keeper = (*this)[number];
  if (!keeper.alive) return;
  keeper.in_at = std::max(keeper.in_at, world_.now() + world_.random.between(20us, 1ms));
  command.at = keeper.in_at;
  keeper.in.push_back(std::move(command));
  world_.scheduler.at(keeper.in_at, What::keeper_hears, 0, number);
}

bool Keepers::send(int number, Message message) {
  Keeper& keeper = (*this)[number];
  if (keeper.life == 0 || keeper.life != world_.life || !world_.daemon.alive()) return false;
  keeper.out_at = std::max(keeper.out_at, world_.now() + world_.random.between(20us, 1ms));
  keeper.out.push_back(std::move(message));
  world_.scheduler.at(keeper.out_at, What::daemon_hears, keeper.link, number);
  return true;
}

void Keepers::daemon_dies() {
  for (int number = 0; number < count(); ++number) {
    Keeper& keeper = (*this)[number];
    if (keeper.life == 0) continue;
    keeper.life = 0;
    keeper.out.clear();
    if (keeper.alive) world_.scheduler.after(50us, What::keeper_looks, 0, number);
  }
}

void Keepers::happen(const Happening& happening) {
  const int number = happening.subject;
  Keeper& keeper = (*this)[number];
  switch (happening.what) {
    case What::keeper_listens: {
      if (!keeper.alive) return;
      if (keeper.stopped) return world_.scheduler.after(100ms, What::keeper_listens, 0, number);
      keeper.listening = true;
      keeper.phase = Keeper::Phase::starting;
      keeper.tree.cloned = true;
      const bool slow = world_.strikes(Fault::slow_start, 4);
      world_.scheduler.after(slow ? world_.random.between(100ms, 8s) : world_.random.between(500us, 5ms),
                             What::leader_executes, 0, number);
      world_.daemon.keeper_came(number);
      return look(number);
    }
    case What::leader_executes:
      return execute(number);
    case What::leader_exits:
      if (keeper.tree.leader) leader_ends(number, world_.program(keeper.job).exit);
      return;
    case What::tree_obeys:
      if (keeper.tree.leader) leader_ends(number, {.code = {}, .signal = 15});
      if (keeper.tree.others && !keeper.tree.stuck && !keeper.tree.leader) {
        keeper.tree.others = false;
        emptied(number);
      }
      return;
    case What::tree_unstuck:
      if (!keeper.tree.stuck) return;
      keeper.tree.stuck = false;
      if (keeper.tree.leader || !keeper.tree.others) return;
      keeper.tree.others = false;
      if (world_.trace.on()) world_.say("what was stuck of " + keeper.attempt.str() + " goes");
      return emptied(number);
    case What::keeper_looks:
    case What::keeper_hears:
      return look(number);
    case What::keeper_dies:
      return kill(number);
    case What::keeper_stops:
      if (!keeper.alive || world_.calm) return;
      if (world_.trace.on()) world_.say("SIGSTOP at the keeper of " + keeper.attempt.str());
      keeper.stopped = true;
      world_.oracle.may_end(keeper.job, model::StopKind::keeper_lost);
      return;
    case What::keeper_continues:
      keeper.stopped = false;
      return look(number);
    default:
      return;
  }
}

void Keepers::execute(int number) {
  Keeper& keeper = (*this)[number];
  if (!keeper.tree.cloned) return;
  keeper.tree.cloned = false;
  const Program& program = world_.program(keeper.job);
  if (program.fails_to_start) {
    keeper.tree.failed = true;
    world_.oracle.may_end(keeper.job, model::StopKind::start_failed);
    return look(number);
  }
  keeper.tree.executed = keeper.tree.leader = true;
  keeper.tree.executed_at = world_.now();
  keeper.tree.others = program.has_children || program.stuck;
  keeper.tree.stuck = program.stuck;
  if (world_.trace.on()) world_.say("the command of " + keeper.attempt.str() + " is executed");
  world_.oracle.executed(keeper);
  if (!program.hangs) world_.scheduler.after(program.runs, What::leader_exits, 0, number);
  if (program.stuck)
    world_.scheduler.at(world_.plan.unstuck - program.unstuck_before, What::tree_unstuck, 0, number);
  look(number);
}

void Keepers::leader_ends(int number, model::Exit exit) {
  Keeper& keeper = (*this)[number];
  keeper.tree.leader = false;
  keeper.tree.exit = exit;
  keeper.tree.leader_exited_at = world_.now();
  if (!world_.program(keeper.job).has_children && !keeper.tree.stuck) keeper.tree.others = false;
  using Kind = model::StopKind;
  if (exit.code) world_.oracle.may_end(keeper.job, *exit.code == 0 ? Kind::completed : Kind::failed);
  if (keeper.tree.empty()) return emptied(number);
  look(number);
}

void Keepers::emptied(int number) {
  Keeper& keeper = (*this)[number];
  world_.machine.leave_residue(keeper.attempt, keeper.leases);
  look(number);
  world_.daemon.tree_emptied(number);
}

void Keepers::kill(int number) {
  Keeper& keeper = (*this)[number];
  if (!keeper.alive) return;
  if (world_.trace.on()) world_.say("the keeper of " + keeper.attempt.str() + " is killed");
  world_.oracle.may_end(keeper.job, model::StopKind::keeper_lost);
  die(number);
}

// By the daemon: cgroup.kill, or the namespace's init.
void Keepers::kill_tree(int number) {
  Keeper& keeper = (*this)[number];
  const bool was_empty = keeper.tree.empty();
  keeper.tree.cloned = false;
  if (!keeper.tree.stuck) keeper.tree.others = false;
  if (keeper.tree.leader) return leader_ends(number, {.code = {}, .signal = 9});
  if (!was_empty && keeper.tree.empty()) emptied(number);
}

void Keepers::exit(int number) {
  Keeper& keeper = (*this)[number];
  keeper.alive = false;
  for (const int gpu : keeper.leases.gpus) {
    Device& device = world_.machine.device(false, gpu);
    --device.lock.keepers;
    // To an attempt that has the GPU in quarantine, an earlier one's keeper was a neighbour, too.
    for (const QuarantineRow& row : world_.disk.quarantined())
      if (row.gpu == gpu && row.attempt != keeper.attempt) device.neighbour_left = world_.now();
  }
  for (const int port : keeper.leases.ports) --world_.machine.device(true, port).lock.keepers;
  (void)send(number, {});
}

// The kernel ends the leader with its keeper, and with a PID namespace the whole tree.
void Keepers::die(int number) {
  exit(number);
  Keeper& keeper = (*this)[number];
  const bool was_empty = keeper.tree.empty();
  keeper.tree.cloned = false;
  if (world_.plan.dies_with_keeper && !keeper.tree.stuck) keeper.tree.others = false;
  if (keeper.tree.leader) return leader_ends(number, {.code = {}, .signal = 9});
  if (!was_empty && keeper.tree.empty()) emptied(number);
}

void Keepers::owner_exits(int job) {
  for (int number = 0; number < count(); ++number) {
    Keeper& keeper = (*this)[number];
    if (keeper.job != job || !keeper.attached) continue;
    keeper.owner_gone = true;
    look(number);
  }
}

void Keepers::reboot() {
  for (Keeper& keeper : keepers_) {
    keeper.alive = false;
    keeper.tree.cloned = keeper.tree.leader = keeper.tree.others = keeper.tree.stuck = false;
    keeper.life = 0;
  }
}

void Keepers::calm() {
  for (int number = 0; number < count(); ++number) {
    if (!(*this)[number].stopped) continue;
    (*this)[number].stopped = false;
    look(number);
  }
}

}  // namespace ebb::simulation
