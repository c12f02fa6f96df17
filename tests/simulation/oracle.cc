#include "oracle.h"

#include <algorithm>

#include "ebb/model/json.h"
#include "world.h"

// What must hold of processes, devices and clients.
namespace ebb::simulation {
namespace {
using model::DeviceState;
// Between two looks at what is quarantined, and a little.
constexpr Duration kLookAgain = std::chrono::seconds(6);
}  // namespace

void Oracle::fail(const std::string& what) {
  if (!violation_.empty()) return;
  violation_ = what;
  if (world_.trace.on()) world_.say("VIOLATION: " + what);
}

Oracle::Facts& Oracle::facts(JobId job) { return facts_[static_cast<std::size_t>(World::job_of(job))]; }

void Oracle::may_end(int job, model::StopKind kind) {
  facts_[static_cast<std::size_t>(job)].may_end |= 1U << static_cast<unsigned>(kind);
}

// The keeper is about to be started: everything about it must be written down, locked and verified.
void Oracle::starts(AttemptId attempt, const engine::Leases& leases) {
  const Facts& of = facts(attempt.job);
  const std::string who = "attempt " + attempt.str();
  if (of.reports > 0) return fail(who + " is started after its job's report");
  if (!of.leases || of.attempt != attempt.number) return fail(who + " is started, and is not on disk");
  if (of.leases->gpus != leases.gpus || of.leases->ports != leases.ports)
    return fail(who + " is started with other leases than are on disk");
  for (const int id : leases.gpus) {
    const Device& gpu = world_.machine.device(false, id);
    const std::string what = who + " is started on gpu " + std::to_string(id) + ", which ";
    if (gpu.lock.daemon == 0) return fail(what + "is not locked");
    if (!verified_.contains(id)) return fail(what + "nobody has verified to be free");
    if (gpu.outside && gpu.outside_since < verified_[id])
      return fail(what + "was in use when it was verified");
    if (gpu.residue && gpu.residue_until > world_.now())
      return fail(what + "still shows " + gpu.residue->str());
    verified_.erase(id);
  }
  for (const int id : leases.ports)
    if (world_.machine.device(true, id).lock.daemon == 0)
      return fail(who + " is started on port " + std::to_string(id) + ", which is not locked");
}

void Oracle::executed(const Keeper& keeper) {
  Facts& of = facts(keeper.attempt.job);
  const std::string who = "attempt " + keeper.attempt.str();
  if (++of.executed > 1) return fail("job " + keeper.attempt.job.str() + " is executed twice");
  of.executed_at = world_.now();
  if (!of.leases || of.attempt != keeper.attempt.number) return fail(who + " runs, and is not on disk");
  const auto shares = [](const std::vector<int>& a, const std::vector<int>& b) {
    return std::ranges::any_of(a, [&](int id) { return std::ranges::find(b, id) != b.end(); });
  };
  for (const Keeper& other : world_.keepers.all()) {
    if (&other == &keeper || (!other.tree.leader && !other.tree.others)) continue;
    if (other.attempt.job == keeper.attempt.job)
      return fail("job " + keeper.attempt.job.str() + " has two trees");
    if (shares(other.leases.gpus, keeper.leases.gpus) || shares(other.leases.ports, keeper.leases.ports))
      return fail(who + " runs on what " + other.attempt.str() + " uses");
  }
}

// A neighbour asks for the lock first. What outlived its job may come back to a GPU that shows nothing of it.
void Oracle::all_told() {
  if (restoring_) return;
  const auto unlocked = [&](int gpu, AttemptId attempt) {
    const Device& device = world_.machine.device(false, gpu);
    // A neighbour that came between two daemons may have had it; the next look takes it back.
    if (!device.lock.free() || world_.now() < device.neighbour_left + kLookAgain) return false;
    // That its keeper is gone is on its way to the daemon.
    return std::ranges::none_of(world_.keepers.all(), [&](const Keeper& keeper) {
      return keeper.attempt == attempt && !keeper.out.empty();
    });
  };
  const auto gpus = world_.daemon.engine().devices().gpus;
  for (const QuarantineRow& row : world_.disk.quarantined()) {
    if (gpus[static_cast<std::size_t>(row.gpu)].state != DeviceState::quarantined) continue;
    // It is watched from when the report is known to be on disk.
    const bool watched = std::ranges::any_of(world_.daemon.attempts(), [&](const Attempt& one) {
      return row.attempt == one.id() && one.finished();
    });
    if (watched && unlocked(row.gpu, *row.attempt))
      return fail("gpu " + std::to_string(row.gpu) + " is quarantined, and nobody has its lock");
  }
  for (const Keeper& keeper : world_.keepers.all()) {
    if (!keeper.tree.leader && !keeper.tree.others) continue;
    for (const int gpu : keeper.leases.gpus)
      if (unlocked(gpu, keeper.attempt))
        return fail(keeper.attempt.str() + " has processes on gpu " + std::to_string(gpu) +
                    ", and nobody has its lock");
  }
}

void Oracle::acknowledged(int client, int job) {
  Facts& of = facts_[static_cast<std::size_t>(job)];
  const std::string id = world_.jobs[static_cast<std::size_t>(job)].info.id.str();
  if (!of.on_disk) return fail("job " + id + " is acknowledged, and is not on disk");
  of.acknowledged = true;
  if (!world_.clients.has_key(client)) return;
  for (std::size_t other = 0; other < facts_.size(); ++other)
    if (static_cast<int>(other) != job && facts_[other].acknowledged && world_.jobs[other].client == client)
      return fail("one key was answered with two jobs, " + id + " and another");
}

void Oracle::never_ends() {
  std::string what = "it does not come to rest:";
  if (!world_.daemon.alive()) return fail(what + " no daemon");
  for (const Row& row : world_.disk.rows()) {
    if (row.report) continue;
    const auto view = world_.daemon.engine().find(row.info.id);
    what +=
        " job " + row.info.id.str() + " is " + (view ? std::string(model::name_of(view->state)) : "unknown");
    const auto why = world_.daemon.engine().why(row.info.id);
    for (const auto& blocker : why ? why->blockers : std::vector<model::Blocker>{})
      what += " (" + blocker.text + ")";
  }
  for (const QuarantineRow& row : world_.disk.quarantined())
    what += " gpu " + std::to_string(row.gpu) + " is quarantined (" + row.why + ")";
  for (const Keeper& keeper : world_.keepers.all())
    if (keeper.alive || !keeper.tree.empty())
      what += " " + keeper.attempt.str() + (keeper.alive ? " has its keeper" : " has processes");
  if (!world_.daemon.at_rest()) what += " something is under way";
  fail(what);
}

void Oracle::at_rest() {
  for (std::size_t job = 0; job < facts_.size(); ++job) {
    const Facts& of = facts_[job];
    const std::string who = "job " + world_.jobs[job].info.id.str();
    if (of.acknowledged && of.reports != 1) fail(who + " was acknowledged, and has no report");
    if (of.on_disk && of.reports != 1) fail(who + " has no report");
    if (!of.on_disk && of.executed > 0) fail(who + " ran, and nobody knows it");
  }
  if (!leased_.empty() || leased_memory_ != 0) fail("a lease is left on disk");
  if (!claims_.empty()) fail("the engine still holds a device");
  for (auto* devices : {&world_.machine.gpus(), &world_.machine.ports()})
    for (const Device& device : *devices)
      if (!device.lock.free()) fail("the lock of device " + std::to_string(device.id) + " is left");
}

}  // namespace ebb::simulation
