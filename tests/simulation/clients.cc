#include "clients.h"

#include <algorithm>

#include "world.h"

namespace ebb::simulation {

using namespace std::chrono_literals;

Clients::Clients(World& world) : world_(world) {
  const Plan& plan = world.plan;
  for (int number = 0; number < plan.clients; ++number) {
    Client& client = clients_.emplace_back();
    client.program = draw();
    client.has_key = world.random.chance(2);
    client.local = world.random.chance(2);
    world.scheduler.at(world.random.between(0us, plan.calm * 3 / 4), What::client_sends, 0, number);
  }
}

Program Clients::draw() {
  Random& random = world_.random;
  const Plan& plan = world_.plan;
  const int gpus = static_cast<int>(plan.machine.gpus.size());
  Program program;
  if (random.chance(6) && gpus > 1) {
    const int one = random.number(0, gpus - 2);
    program.demand.gpu_ids = {one, one + 1};
    program.demand.gpus = 2;
  } else {
    program.demand.gpus = random.chance(2) ? 1 : random.number(0, gpus);
  }
  program.demand.ports = random.number(0, static_cast<int>(plan.machine.ports.size()));
  program.demand.memory_bytes = random.number(0, 3) * 100;
  program.priority = random.chance(6) ? 1 : 0;
  program.user = random.chance(2) ? "alice" : "bob";
  program.grace = random.between(0us, 8s);
  if (random.chance(4)) program.time = random.between(100ms, 20s);
  if (random.chance(2)) program.owner_lease = 15s;
  program.waits_for_ready = program.demand.ports > 0 && random.chance(2);
  program.gets_ready = !random.chance(6);
  program.runs = random.chance(2) ? random.between(1ms, 1s) : random.between(1s, 25s);
  program.obeys_in = random.between(1ms, 500ms);
  program.exit.code = random.chance(3) ? 1 : 0;
  program.hangs = random.chance(6);
  const bool stubborn = plan.has(Fault::stubborn);
  program.ignores_term = stubborn && random.chance(4);
  program.has_children = stubborn && random.chance(2);
  program.fails_to_start = plan.has(Fault::no_start) && random.chance(4);
  program.stuck = plan.has(Fault::stuck) && random.chance(4);
  program.unstuck_before = random.between(0us, plan.unstuck);
  return program;
}

bool Clients::owner_is_gone(int job) const {
  const Client& client = at(world_.jobs[static_cast<std::size_t>(job)].client);
  return client.local && client.gone;
}

void Clients::plan(int client, Duration wait, Act act) {
  world_.scheduler.after(wait, What::client_acts, 0, client, static_cast<std::int32_t>(act));
}

void Clients::happen(const Happening& happening) {
  const int client = happening.subject;
  switch (happening.what) {
    case What::client_sends:
      return send(client);
    case What::request_arrives:
      // Over a connection that nobody takes, it is as if nothing had been sent.
      if (world_.daemon.alive()) world_.daemon.submit(client);
      return;
    case What::answer_arrives:
      return told(client, happening.detail);
    default:
      return act(client, static_cast<Act>(happening.detail));
  }
}

// Only one that has a key may send again without knowing what became of the first.
void Clients::send(int number) {
  Client& client = at(number);
  if (client.job >= 0 || client.gone || client.given_up) return;
  const bool dropped = world_.strikes(Fault::network, 4);
  const bool twice = client.has_key && world_.strikes(Fault::network, 4);
  const Duration late = world_.strikes(Fault::network, 4) ? Duration(5s) : Duration(20ms);
  if (!dropped) world_.scheduler.after(world_.random.between(50us, late), What::request_arrives, 0, number);
  if (twice) world_.scheduler.after(world_.random.between(50us, late), What::request_arrives, 0, number);
  if (client.has_key) {
    world_.scheduler.after(world_.random.between(12s, 20s), What::client_sends, 0, number);
  } else {
    client.given_up = true;  // unless an answer comes
  }
  if (client.program.owner_lease && world_.strikes(Fault::owner, 6))
    plan(number, world_.random.between(1ms, 1s), Act::exit);
}

void Clients::answer(int client, int job) {
  const bool lost = world_.strikes(Fault::network, 4);
  if (!lost) world_.scheduler.after(world_.random.between(50us, 20ms), What::answer_arrives, 0, client, job);
}

void Clients::told(int number, int job) {
  Client& client = at(number);
  if (client.gone || client.job >= 0) return;
  if (job < 0) {  // refused: it may come again
    if (client.has_key || world_.calm) return;
    client.given_up = false;
    return world_.scheduler.after(world_.random.between(1s, 10s), What::client_sends, 0, number);
  }
  client.job = job;
  client.given_up = false;
  Random& random = world_.random;
  if (client.program.owner_lease) plan(number, random.between(100us, 100ms), Act::connect);
  if (world_.calm) return;
  if (world_.plan.has(Fault::cancel) && random.chance(2)) {
    const int times = random.number(1, 3);
    for (int i = 0; i < times; ++i)
      plan(number, random.between(0us, random.chance(2) ? 50ms : 30s), Act::cancel);
  }
  if (!world_.plan.has(Fault::owner) || !client.program.owner_lease) return;
  const int times = random.number(0, 4);
  for (int i = 0; i < times; ++i) {
    const auto act =
        static_cast<Act>(random.number(static_cast<int>(Act::connect), static_cast<int>(Act::disown)));
    plan(number, random.between(0us, 40s), act == Act::exit && random.chance(2) ? Act::drop : act);
  }
}

void Clients::act(int number, Act act) {
  Client& client = at(number);
  if (act == Act::exit) {
    if (client.gone) return;
    if (world_.trace.on()) world_.say("client " + std::to_string(number) + " exits");
    client.gone = true;
    client.connected = false;
    for (int job = 0; job < static_cast<int>(world_.jobs.size()); ++job) {
      if (world_.jobs[static_cast<std::size_t>(job)].client != number) continue;
      if (!client.local) {
        world_.daemon.owner_is(
            job, engine::OwnerDisconnected{world_.jobs[static_cast<std::size_t>(job)].info.id, {}});
        continue;
      }
      world_.oracle.may_end(job, model::StopKind::owner_lost);
      world_.keepers.owner_exits(job);
      world_.daemon.owner_exits(job);
    }
    return;
  }
  if (client.job < 0) return;
  const JobId id = world_.jobs[static_cast<std::size_t>(client.job)].info.id;
  const bool up = world_.daemon.alive();
  if (act == Act::cancel || act == Act::hurry) {
    if (up)
      world_.daemon.cancel(client.job,
                           act == Act::hurry || world_.random.chance(4) ? Duration(0) : client.program.grace);
    return;
  }
  if (client.gone || !client.program.owner_lease) return;
  switch (act) {
    case Act::connect:
      if (client.connected) return;
      if (!up) return plan(number, 1s, Act::connect);
      client.connected = true;
      client.seen = world_.now();
      return world_.daemon.owner_is(client.job, engine::OwnerConnected{id});
    case Act::drop:
      if (!std::exchange(client.connected, false)) return;
      if (world_.random.chance(2)) plan(number, world_.random.between(10ms, 20s), Act::connect);
      return world_.daemon.owner_is(client.job, engine::OwnerDisconnected{id, {}});
    case Act::suspend:
      return world_.daemon.owner_is(client.job, engine::OwnerSuspended{id});
    case Act::resume:
      return world_.daemon.owner_is(client.job, engine::OwnerResumed{id});
    case Act::hang:  // SIGSTOP: the daemon notices when nothing has come for a while
      if (!client.connected) return;
      client.seen = world_.now();
      return plan(number, world_.random.between(1s, 10s), Act::notice);
    case Act::notice:
      if (!std::exchange(client.connected, false)) return;
      if (world_.random.chance(2)) plan(number, world_.random.between(1s, 10s), Act::connect);
      return world_.daemon.owner_is(client.job, engine::OwnerDisconnected{id, world_.boot(client.seen)});
    case Act::disown:
      if (!up) return;
      client.program.owner_lease.reset();
      return world_.daemon.owner_is(client.job, engine::OwnerDropped{id});
    default:
      return;
  }
}

// Their streams end; whoever lives comes back.
void Clients::daemon_dies() {
  for (int number = 0; number < static_cast<int>(clients_.size()); ++number) {
    if (std::exchange(at(number).connected, false))
      plan(number, world_.random.between(100ms, 2s), Act::connect);
  }
}

void Clients::calm() {
  for (int number = 0; number < static_cast<int>(clients_.size()); ++number) {
    const Client& client = at(number);
    if (client.job < 0) continue;
    if (client.program.owner_lease && !client.gone) plan(number, 1ms, Act::connect);
    plan(number, 1ms, Act::resume);
  }
}

bool Clients::content() const {
  return std::ranges::all_of(
      clients_, [](const Client& client) { return client.job >= 0 || client.gone || client.given_up; });
}

}  // namespace ebb::simulation
