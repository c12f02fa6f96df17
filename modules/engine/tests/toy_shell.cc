#include <algorithm>

#include "driver.h"
#include "toy_world.h"

// The toy world's daemon: a shell that keeps to the contract in actions.h, in the plainest way.
namespace ebb::engine::test {

using model::JobState;
using model::StopKind;

// Start-up is recovery: the journal, then the quarantined GPUs, then what the census finds.
void ToyWorld::start_daemon() {
  engine_.emplace(machine(options_.gpus, options_.ports, options_.memory_bytes), options_.limits);
  commits_.clear();
  acquiring_.clear();
  releasing_.clear();
  to_tell_started_.clear();
  to_tell_ended_.clear();
  watched_.clear();
  live_.clear();
  claims_.clear();
  first_since_.clear();
  perhaps_first_since_.clear();
  draining_ = false;
  restoring_ = true;

  std::vector<const Row*> rows;
  for (const auto& [id, row] : journal_)
    if (!row.ended) rows.push_back(&row);
  std::ranges::sort(rows, {}, [](const Row* row) { return row->info.seq; });
  for (const Row* row : rows) {
    live_.emplace(row->info.id, row->info);
    if (row->attempt) {
      const AttemptId attempt{row->info.id, static_cast<std::uint32_t>(row->attempt->number)};
      for (const int gpu : row->attempt->leases.gpus) claims_[{false, gpu}] = attempt;
      for (const int port : row->attempt->leases.ports) claims_[{true, port}] = attempt;
    }
    feed(Restored{row->info, row->attempt ? row->attempts - 1 : row->attempts, row->attempt});
  }
  for (const int gpu : quarantine_) {
    // It may have come free just before the crash, so it is looked at again.
    dirty_gpus_.insert(gpu);
    feed(DeviceChanged{false, gpu, model::DeviceState::quarantined, "from before", {}});
  }
  restoring_ = false;
  feed(RestoreDone{});

  for (auto it = keepers_.begin(); it != keepers_.end();) {
    const auto row = journal_.find(it->first.job);
    // A report on disk whose keeper was not told yet.
    const bool done = row == journal_.end() || row->second.ended;
    it = done ? keepers_.erase(it) : std::next(it);
  }
  for (const Row* row : rows) {
    if (!row->attempt || row->attempt->state == JobState::releasing) continue;
    const AttemptId attempt{row->info.id, static_cast<std::uint32_t>(row->attempt->number)};
    const auto keeper = keepers_.find(attempt);
    if (keeper == keepers_.end()) {
      std::erase_if(claims_, [&](const auto& claim) { return claim.second == attempt; });
      feed(NeverStarted{attempt});
    } else if (keeper->second.alive) {
      keeper->second.ready_asked = false;
      to_tell_started_.insert(attempt);
    } else {
      to_tell_ended_.insert(attempt);
    }
  }
}

void ToyWorld::feed(const Event& event) {
  if (!violations_.empty()) return;
  ++events_;
  Actions actions = engine_->apply(event, now());
  for (const Record& record : actions.records) {
    const auto* ended = std::get_if<record::JobEnded>(&record);
    if (ended && live_.erase(ended->job) == 0) fail("job " + ended->job.str() + " ended twice");
    if (std::holds_alternative<record::AttemptAdded>(record) && draining_)
      fail("an attempt was made while draining");
  }
  for (const Act& act : actions.now) perform(act);
  check(actions);
  if (!actions.records.empty() || !actions.then.empty())
    commits_.push_back({std::move(actions.records), std::move(actions.then)});
}

void ToyWorld::perform(const Act& act) {
  if (const auto* acquire = std::get_if<act::Acquire>(&act)) {
    const auto claim = [&](bool is_port, int id) {
      const auto [it, is_new] = claims_.emplace(DeviceKey{is_port, id}, acquire->attempt);
      if (!is_new) fail("device " + std::to_string(id) + " is leased to " + it->second.str() + " and again");
    };
    for (const int gpu : acquire->leases.gpus) claim(false, gpu);
    for (const int port : acquire->leases.ports) claim(true, port);
    if (!acquiring_.emplace(acquire->attempt, acquire->leases).second) fail("acquired twice");
    if (draining_) fail("something was acquired while draining");
  } else if (const auto* abandon = std::get_if<act::Abandon>(&act)) {
    acquiring_.erase(abandon->attempt);
    std::erase_if(claims_, [&](const auto& claim) { return claim.second == abandon->attempt; });
  } else if (const auto* start = std::get_if<act::Start>(&act)) {
    const auto row = journal_.find(start->attempt.job);
    if (row == journal_.end() || !row->second.attempt) return fail("started before it was on disk");
    for (const auto& [other, keeper] : keepers_)
      for (const int gpu : keeper.leases.gpus)
        if (keeper.alive && std::ranges::count(start->leases.gpus, gpu) > 0)
          fail("two processes on GPU " + std::to_string(gpu));
    Keeper keeper;
    keeper.leases = start->leases;
    keeper.started = boot_;
    keeper.hangs = chance(6);
    if (!calm_ && chance(10)) {
      keeper.alive = false;
      keeper.seen = StopKind::start_failed;
      keeper.exited_at = boot_;
      to_tell_ended_.insert(start->attempt);
    } else {
      to_tell_started_.insert(start->attempt);
    }
    if (!keepers_.emplace(start->attempt, std::move(keeper)).second) fail("started twice");
  } else if (const auto* stop = std::get_if<act::Stop>(&act)) {
    const auto keeper = keepers_.find(stop->attempt);
    if (keeper == keepers_.end()) return;  // its end, and even its report, were on their way
    const BootTime at = boot_ + stop->grace;
    keeper->second.kill_at = std::min(keeper->second.kill_at.value_or(at), at);
  } else if (const auto* release = std::get_if<act::Release>(&act)) {
    const auto keeper = keepers_.find(release->attempt);
    if (keeper != keepers_.end() && keeper->second.alive) fail("released while it lives");
    if (!releasing_.emplace(release->attempt, *release).second) fail("released twice");
  } else if (const auto* finish = std::get_if<act::Finish>(&act)) {
    if (!journal_.at(finish->attempt.job).ended) fail("finished before the report is on disk");
    keepers_.erase(finish->attempt);
  } else if (const auto* watch = std::get_if<act::Watch>(&act)) {
    if (!watched_.emplace(watch->is_port, watch->id).second) fail("watched twice");
  } else if (const auto* unwatch = std::get_if<act::Unwatch>(&act)) {
    if (watched_.erase({unwatch->is_port, unwatch->id}) == 0) fail("unwatched what was not watched");
  }
}

void ToyWorld::commit_one(bool carry_out) {
  if (commits_.empty()) return;
  const Commit commit = std::move(commits_.front());
  commits_.pop_front();
  for (const Record& record : commit.records) write(record);
  if (!carry_out) return;
  for (const Act& act : commit.then) perform(act);
}

void ToyWorld::write(const Record& record) {
  if (const auto* added = std::get_if<record::JobAdded>(&record)) {
    // Its end may have been decided meanwhile, so it is not always in live_.
    Row row;
    if (const auto it = live_.find(added->job); it != live_.end()) row.info = it->second;
    row.info.id = added->job;
    if (row.info.seq == 0) row.info.seq = ++last_seq_;
    journal_.emplace(added->job, std::move(row));
  } else if (const auto* attempt = std::get_if<record::AttemptAdded>(&record)) {
    Row& row = journal_.at(attempt->attempt.job);
    row.attempts = static_cast<int>(attempt->attempt.number);
    row.attempt.emplace();
    row.attempt->number = row.attempts;
    row.attempt->leases = attempt->leases;
  } else if (const auto* running = std::get_if<record::AttemptRunning>(&record)) {
    auto& row = *journal_.at(running->attempt.job).attempt;
    row.state = JobState::running;
    row.started_at = running->at;
  } else if (const auto* asked = std::get_if<record::StopAsked>(&record)) {
    auto& row = *journal_.at(asked->attempt.job).attempt;
    row.stop_reason = asked->reason;
    row.stop_asked_at = asked->at;
  } else if (const auto* ended = std::get_if<record::AttemptEnded>(&record)) {
    auto& row = *journal_.at(ended->attempt.job).attempt;
    row.state = JobState::releasing;
    row.stop_reason = ended->reason;
    row.exit = ended->exit;
  } else if (const auto* job = std::get_if<record::JobEnded>(&record)) {
    Row& row = journal_.at(job->job);
    if (row.ended) fail("two reports of job " + job->job.str());
    if (job->report.attempt != (row.attempt ? row.attempts : 0)) fail("a report of the wrong attempt");
    row.ended = true;
    row.attempt.reset();
  } else if (const auto* dropped = std::get_if<record::AttemptDropped>(&record)) {
    Row& row = journal_.at(dropped->attempt.job);
    row.attempt.reset();
    row.attempts = static_cast<int>(dropped->attempt.number) - 1;
  } else if (const auto* quarantined = std::get_if<record::Quarantined>(&record)) {
    quarantine_.insert(quarantined->gpu);
  } else if (const auto* lifted = std::get_if<record::QuarantineLifted>(&record)) {
    quarantine_.erase(lifted->gpu);
  } else if (const auto* detached = std::get_if<record::OwnerDropped>(&record)) {
    journal_.at(detached->job).info.owner_lease.reset();
  }
}

// Keepers end their trees also while no daemon runs.
void ToyWorld::kill_due() {
  for (auto& [attempt, keeper] : keepers_) {
    if (!keeper.alive || !keeper.kill_at || *keeper.kill_at > boot_) continue;
    keeper.alive = false;
    keeper.exited_at = boot_;
    keeper.exit.signal = 9;
    keeper.seen = StopKind::failed;
    to_tell_ended_.insert(attempt);
  }
}

}  // namespace ebb::engine::test
