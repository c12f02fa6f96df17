#include <algorithm>

#include "daemon.h"
#include "world.h"

// Start-up is recovery: modules/daemon/src/startup.cc.
namespace ebb::simulation {
namespace {
const std::vector<model::OutsideUse> kUse = {{1, "root", 100}}, kNoUse = {};
}

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
  // Folders of attempts whose report is written: their keepers wait for an acknowledgement, or for survivors.
  for (int number = 0; number < world_.keepers.count() && alive_; ++number) {
    Keeper& keeper = world_.keepers[number];
    const Row* const row = world_.disk.find(keeper.attempt.job);
    if (!keeper.folder || row == nullptr || !row->report) continue;
    if (keeper.boot != world_.boot_number) {
      keeper.folder = false;
      continue;
    }
    std::vector<int> held;
    for (const QuarantineRow& one : world_.disk.quarantined())
      if (one.attempt == keeper.attempt) held = keeper.leases.gpus;
    const int place = static_cast<int>(attempts_.size());
    engine::Leases leases;
    leases.gpus = held;
    attempts_.emplace_back(world_, place, keeper.attempt, keeper.job, leases).adopt_lingering(held);
  }
  for (const Live& found : live) {
    if (!step()) return;
    found.attempt->adopt(found.boot, found.state);
  }
  apply(engine::RestoreDone{});
  unawaited_.clear();
  for (const QuarantineRow& row : world_.disk.quarantined()) {
    const bool awaited =
        std::ranges::any_of(attempts_, [&](const Attempt& one) { return one.quarantines(row.gpu); });
    if (!awaited) unawaited_.push_back(row.gpu);
  }
  look_at_quarantined();
}

// What held a GPU back may have gone while no daemon ran.
void Daemon::look_at_quarantined() {
  if (!alive_) return;
  std::erase_if(unawaited_, [this](int id) {
    const auto row = std::ranges::find(world_.disk.quarantined(), id, &QuarantineRow::gpu);
    // A process that its own job left behind is no outsider, though its keeper is gone.
    const auto attempt = row == world_.disk.quarantined().end() ? std::nullopt : row->attempt;
    const auto verdict = world_.machine.look(world_.machine.device(false, id), attempt);
    if (verdict != Machine::Verdict::free && verdict != Machine::Verdict::outside) return false;
    const bool outside = verdict == Machine::Verdict::outside;
    tell(engine::DeviceChanged{false, id, outside ? model::DeviceState::outside : model::DeviceState::free,
                               "looked", outside ? kUse : kNoUse});
    return true;
  });
  if (!unawaited_.empty() && alive_ && world_.plan.mutant != Mutant::looks_once)
    world_.scheduler.after(std::chrono::seconds(5), What::quarantine_look, world_.life);
}

}  // namespace ebb::simulation
