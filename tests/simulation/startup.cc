#include <map>

#include "daemon.h"
#include "world.h"

// Start-up is recovery: modules/daemon/src/startup.cc.
namespace ebb::simulation {

void Daemon::start() {
  alive_ = true;
  ++world_.life;
  if (world_.trace.on()) world_.say("daemon " + std::to_string(world_.life) + " starts");
  engine::Limits limits = world_.plan.limits;
  if (world_.plan.mutant == Mutant::overtakes) limits.overtake = std::chrono::hours(1);
  engine_.emplace(world_.plan.machine, limits);
  events_.clear();
  scheduled_ = false;
  gathering_ = {};
  committing_.reset();
  disk_error_ = stopping_ = keeping_ = false;
  attempts_.clear();
  current_.clear();
  watches_.clear();
  submissions_.clear();
  answers_.clear();
  waits_for_company_ = false;
  waits_for_key_.clear();
  watched_owners_.clear();
  last_seq_ = world_.disk.last_seq();
  if (world_.plan.has(Fault::crash) && !world_.calm && !world_.random.chance(3))
    steps_left_ = world_.random.below(150);
  world_.oracle.daemon_starts();
  recover();
}

void Daemon::recover() {
  struct Live {
    Attempt* attempt;
    std::uint32_t boot;
    model::JobState state;
  };
  std::vector<Live> live;
  for (const Row& row : world_.disk.rows()) {
    if (!step()) return;
    if (row.report && world_.plan.mutant != Mutant::reports_again) continue;
    engine::Restored event{.job = row.info, .attempts_before = 0, .attempt = row.attempt};
    if (row.attempt) {
      event.attempts_before = row.attempt->number - 1;
      const AttemptId id{row.info.id, static_cast<std::uint32_t>(row.attempt->number)};
      Attempt& attempt = add_attempt(id, row.attempt->leases);
      if (!row.info.owner_lease) attempt.disown();
      live.push_back({&attempt, row.boot, row.attempt->state});
    }
    tell(std::move(event));
  }
  for (const QuarantineRow& row : world_.disk.quarantined())
    tell(engine::DeviceChanged{false, row.gpu, model::DeviceState::quarantined, row.why, {}});
  // Attempts whose report is written: those that have a folder (their keepers wait for an acknowledgement, or
  // for survivors, or are dead), and those that hold a GPU back.
  std::map<AttemptId, std::vector<int>> lingering;
  for (const Keeper& keeper : world_.keepers.all()) {
    if (keeper.folder && keeper.boot == world_.boot_number) lingering[keeper.attempt];
  }
  for (const QuarantineRow& row : world_.disk.quarantined())
    if (row.attempt) lingering[*row.attempt].push_back(row.gpu);
  for (const auto& [id, gpus] : lingering) {
    if (!step()) return;
    const Row* const row = world_.disk.find(id.job);
    if (row == nullptr || !row->report || !row->attempt) continue;
    engine::Leases held;
    // All of them, since a keeper hands its locks over in their order.
    if (!gpus.empty()) held.gpus = row->attempt->leases.gpus;
    const int place = static_cast<int>(attempts_.size());
    attempts_.emplace_back(world_, place, id, row->job, held).adopt_lingering(gpus);
  }
  for (const Live& found : live) {
    if (!step()) return;
    found.attempt->adopt(found.boot, found.state);
  }
  apply(engine::RestoreDone{});
  // What held a GPU back may have gone while no daemon ran.
  for (Attempt& one : attempts_) one.look_at_quarantined();
}

}  // namespace ebb::simulation
