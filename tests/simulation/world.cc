#include "world.h"

#include <algorithm>

namespace ebb::simulation {

using namespace std::chrono_literals;

namespace {
// A history at rest takes much less; past it, something never ends.
constexpr Duration kPatience = 1h;
enum AdminAct : std::int32_t { drain, resume, end, end_now, keep };
}  // namespace

World::World(std::uint64_t seed, const Options& options)
    : random(seed),
      plan(make_plan(seed, options, random)),
      trace(options.trace),
      oracle(*this),
      machine(*this, plan.machine),
      keepers(*this),
      disk(*this),
      clients(*this),
      daemon(*this) {
  jobs.reserve(64);
  scheduler.at(0us, What::daemon_starts);
  scheduler.at(plan.calm, What::faults_stop);
  plan_faults();
}

int World::add_job(int client, std::int64_t seq) {
  const int number = static_cast<int>(jobs.size());
  const Program& of = clients.program(client);
  Job& job = jobs.emplace_back();
  job.client = client;
  job.info.id = JobId(static_cast<std::uint32_t>(random.next() << 8U) | static_cast<std::uint32_t>(number));
  job.info.seq = seq;
  job.info.user = of.user;
  job.info.priority = of.priority;
  job.info.demand = of.demand;
  job.info.grace = of.grace;
  job.info.time = of.time;
  job.info.owner_lease = of.owner_lease;
  job.info.waits_for_ready = of.waits_for_ready;
  oracle.new_job();
  return number;
}

void World::plan_faults() {
  const auto some = [&](Fault fault, int most, What what, auto subject) {
    if (!plan.has(fault)) return;
    const int times = random.number(1, most);
    for (int i = 0; i < times; ++i) {
      const Moment when = random.between(0us, plan.calm);
      const std::int32_t whose = subject();
      scheduler.at(when, what, 0, whose, static_cast<std::int32_t>(random.chance(2)));
    }
  };
  const auto nobody = [] { return 0; };
  const auto gpu = [&] { return random.number(0, static_cast<int>(plan.machine.gpus.size()) - 1); };
  some(Fault::crash, 3, What::daemon_crashes, nobody);
  some(Fault::reboot, 2, What::machine_reboots, nobody);
  some(Fault::driver, 3, What::driver_hangs, gpu);
  some(Fault::outside, 4, What::outsider_comes, gpu);
  some(Fault::clock, 3, What::clock_jumps, nobody);
  some(Fault::shutdown, 2, What::admin_acts, [&] { return random.number(end, keep); });
  if (!plan.has(Fault::drain)) return;
  const Moment when = random.between(0us, plan.calm);
  scheduler.at(when, What::admin_acts, 0, drain);
  if (random.chance(2)) scheduler.at(when + random.between(0us, 20s), What::admin_acts, 0, resume);
}

// Some keepers die or are stopped at a moment that has nothing to do with the rest.
void World::fate_of_keeper(int keeper) {
  const auto soon = [&] { return random.chance(2) ? random.between(0us, 10ms) : random.between(0us, 20s); };
  if (strikes(Fault::keeper_death, 3)) scheduler.after(soon(), What::keeper_dies, 0, keeper);
  if (strikes(Fault::keeper_stop, 3)) {
    const Duration when = soon();
    scheduler.after(when, What::keeper_stops, 0, keeper);
    scheduler.after(when + random.between(1ms, 20s), What::keeper_continues, 0, keeper);
  }
}

void World::run() {
  while (oracle.sound()) {
    if (scheduler.empty() || now() > plan.calm + kPatience) {
      oracle.never_ends();
      break;
    }
    const Happening happening = scheduler.next();
    trace.mix(static_cast<std::uint64_t>(happening.at.count()) ^
              (static_cast<std::uint64_t>(happening.what) << 56U));
    trace.mix(static_cast<std::uint64_t>(happening.subject));
    happen(happening);
    if (calm && at_rest()) break;
  }
  if (oracle.sound()) oracle.at_rest();
}

void World::happen(const Happening& happening) {
  switch (happening.what) {
    case What::daemon_crashes:
      return calm ? void() : daemon.crash();
    case What::disk_done:
    case What::disk_told:
      return disk.happen(happening);
    case What::daemon_hears:
      return daemon.daemon_hears(happening);
    case What::client_sends:
    case What::request_arrives:
    case What::answer_arrives:
    case What::client_acts:
      return clients.happen(happening);
    case What::outsider_comes:
      if (calm) return;
      return machine.outsider_comes(happening.detail != 0 && !machine.ports().empty(),
                                    happening.detail != 0 && !machine.ports().empty()
                                        ? static_cast<std::size_t>(happening.subject) % machine.ports().size()
                                        : static_cast<std::size_t>(happening.subject));
    case What::outsider_goes:
      return machine.outsider_goes(happening.detail != 0, static_cast<std::size_t>(happening.subject));
    case What::driver_hangs:
      return calm ? void() : machine.driver_hangs(static_cast<std::size_t>(happening.subject));
    case What::machine_reboots:
      return calm ? void() : reboot();
    case What::admin_acts:
      return calm ? void() : admin_acts(happening.subject);
    case What::clock_jumps:
      wall_skew += random.between(-600s, 600s);
      return;
    case What::faults_stop:
      return stop_faults();
    case What::hanging_is_cancelled:
      return cancel_hanging();
    default:
      if (happening.what < What::disk_done) return daemon.happen(happening);
      return keepers.happen(happening);
  }
}

void World::admin_acts(std::int32_t what) {
  if (what == drain || what == resume) return daemon.drain(what == drain);
  daemon.shut_down(what != keep);
  if (what == end_now) daemon.shut_down(true);
}

void World::reboot() {
  if (trace.on()) say("the machine is reset");
  daemon.crash();
  keepers.reboot();
  machine.reboot();
  ++boot_number;
  booted_at = now();
  oracle.reboots();
}

void World::stop_faults() {
  if (trace.on()) say("from here on nothing goes wrong");
  calm = true;
  daemon.stop_crashing();
  machine.calm();
  keepers.calm();
  daemon.drain(false);
  clients.calm();
  scheduler.after(1s, What::hanging_is_cancelled);
}

// Who submitted it may have gone without an answer, so somebody else ends what would not end by itself.
void World::cancel_hanging() {
  for (const Row& row : disk.rows())
    if (!row.report && program(row.job).hangs) daemon.cancel(row.job, program(row.job).grace);
  scheduler.after(30s, What::hanging_is_cancelled);
}

bool World::at_rest() const {
  if (!daemon.at_rest() || disk.ended() != static_cast<int>(disk.rows().size()) || !clients.content())
    return false;
  if (!disk.quarantined().empty()) return false;
  // What a keeper said last may be on its way to the daemon, and locks with it.
  return std::ranges::none_of(keepers.all(), [](const Keeper& keeper) {
    return keeper.alive || !keeper.tree.empty() || !keeper.out.empty();
  });
}

}  // namespace ebb::simulation
