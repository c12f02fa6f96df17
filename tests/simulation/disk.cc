#include "disk.h"

#include <algorithm>

#include "world.h"

namespace ebb::simulation {

using namespace std::chrono_literals;

Row* Disk::find(JobId job) {
  const auto found = std::ranges::find(rows_, job, [](const Row& row) { return row.info.id; });
  return found == rows_.end() ? nullptr : &*found;
}

const Row* Disk::with_key(int client) const {
  const auto found = std::ranges::find_if(rows_, [&](const Row& row) {
    return row.has_key && world_.jobs[static_cast<std::size_t>(row.job)].client == client;
  });
  return found == rows_.end() ? nullptr : &*found;
}

void Disk::commit(Batch batch) {
  writing_ = std::move(batch);
  const bool slow = world_.strikes(Fault::slow_disk, 3);
  world_.scheduler.after(slow ? world_.random.between(20ms, world_.random.chance(8) ? 10s : 1s)
                              : world_.random.between(100us, 8ms),
                         What::disk_done, turn_);
}

void Disk::happen(const Happening& happening) {
  if (happening.epoch != turn_) return;
  if (happening.what == What::disk_told) return world_.daemon.committed(outcome_);
  outcome_ = Outcome::done;
  if (world_.strikes(Fault::bad_disk, 6))
    outcome_ = world_.random.chance(6) ? Outcome::fatal : Outcome::failed;
  // After an fsync that failed nobody knows what is there.
  const bool there = outcome_ == Outcome::done || (outcome_ == Outcome::fatal && world_.random.chance(2));
  if (world_.trace.on() && outcome_ != Outcome::done)
    world_.say(outcome_ == Outcome::fatal ? "fsync fails" : "the disk is full");
  const Batch batch = *std::exchange(writing_, std::nullopt);
  if (there)
    for (const Write& write : batch) apply(write);
  world_.scheduler.after(world_.random.between(10us, 200us), What::disk_told, turn_);
}

void Disk::daemon_dies() {
  // What is being written is written or not.
  const auto batch = std::exchange(writing_, std::nullopt);
  if (batch && world_.random.chance(2))
    for (const Write& write : *batch) apply(write);
  ++turn_;
}

void Disk::apply(const Write& write) {
  const auto* added = std::get_if<AddJob>(&write);
  if (added == nullptr) return apply(std::get<engine::Record>(write));
  rows_.push_back(
      {.job = added->job, .info = added->info, .has_key = added->has_key, .attempt = {}, .report = {}});
  last_seq_ = std::max(last_seq_, added->info.seq);
  world_.oracle.job_on_disk(*added);
}

// As the statements of modules/store/src/applier.cc do it.
void Disk::apply(const engine::Record& record) {
  using namespace engine::record;
  world_.oracle.on_disk(record);
  const auto row = [&](JobId job) -> Row& {
    Row* const found = find(job);
    if (found == nullptr) {
      world_.oracle.fail("a record of job " + job.str() + ", which is not on disk");
      return rows_.emplace_back();
    }
    return *found;
  };
  const auto attempt = [&](AttemptId id) -> engine::Restored::Attempt& {
    Row& of = row(id.job);
    if (!of.attempt) {
      world_.oracle.fail("a record of attempt " + id.str() + ", which is not on disk");
      of.attempt.emplace();
    }
    return *of.attempt;
  };
  if (const auto* added = std::get_if<AttemptAdded>(&record)) {
    Row& of = row(added->attempt.job);
    of.attempt.emplace();
    of.attempt->number = static_cast<int>(added->attempt.number);
    of.attempt->leases = added->leases;
    of.boot = world_.boot_number;
  } else if (const auto* running = std::get_if<AttemptRunning>(&record)) {
    auto& one = attempt(running->attempt);
    one.state = model::JobState::running;
    one.started_at = running->at;
  } else if (const auto* asked = std::get_if<StopAsked>(&record)) {
    auto& one = attempt(asked->attempt);
    if (!one.stop_asked_at) {
      one.stop_reason = asked->reason;
      one.stop_asked_at = asked->at;
    }
  } else if (const auto* ended = std::get_if<AttemptEnded>(&record)) {
    auto& one = attempt(ended->attempt);
    one.state = model::JobState::releasing;
    one.stop_reason = ended->reason;
    one.exit = ended->exit;
  } else if (const auto* over = std::get_if<JobEnded>(&record)) {
    Row& of = row(over->job);
    if (!of.report) ++ended_;
    of.report = over->report;
  } else if (const auto* dropped = std::get_if<AttemptDropped>(&record)) {
    row(dropped->attempt.job).attempt.reset();
  } else if (const auto* quarantined = std::get_if<Quarantined>(&record)) {
    std::erase_if(quarantined_, [&](const QuarantineRow& one) { return one.gpu == quarantined->gpu; });
    quarantined_.push_back({quarantined->gpu, quarantined->why, quarantined->attempt});
  } else if (const auto* lifted = std::get_if<QuarantineLifted>(&record)) {
    std::erase_if(quarantined_, [&](const QuarantineRow& one) { return one.gpu == lifted->gpu; });
  } else if (const auto* disowned = std::get_if<OwnerDropped>(&record)) {
    row(disowned->job).info.owner_lease.reset();
  }
}

}  // namespace ebb::simulation
