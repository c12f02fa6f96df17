#include "toy_world.h"

#include <algorithm>

#include "driver.h"

namespace ebb::engine::test {

using model::StopKind;

ToyWorld::ToyWorld(const ToyOptions& options) : options_(options), random_(options.seed) { start_daemon(); }

void ToyWorld::run(int steps) {
  for (int i = 0; i < steps && violations_.empty(); ++i) step();
}

void ToyWorld::step() {
  switch (dice(20)) {
    case 0:
    case 1:
    case 2:
      return submit();
    case 3:
      return cancel();
    case 4:
    case 5:
    case 6:
      return commit_one();
    case 7:
      return answer_acquire();
    case 8:
      return answer_release();
    case 9:
      return answer_ready();
    case 10:
      return deliver_start();
    case 11:
    case 12:
      return deliver_end();
    case 13:
      return exit_of_a_process();
    case 14:
      return owner_event();
    case 15:
      return outsider();
    case 16:
      return look();
    case 17:
      return stale_message();
    case 18:
      return pass_time(std::chrono::milliseconds(dice(chance(8) ? 60'000 : 2'000)));
    default:
      if (chance(12)) {
        draining_ = !draining_;
        feed(Drain{draining_});
      } else if (options_.crashes && chance(12)) {
        crash();
      }
  }
}

void ToyWorld::submit() {
  if (live_.size() >= static_cast<std::size_t>(options_.most_jobs)) return;
  JobInfo info;
  info.seq = ++last_seq_;
  info.id = JobId(static_cast<std::uint32_t>(info.seq * 2'654'435'761U));
  info.user = chance(2) ? "alice" : "bob";
  info.priority = chance(6) ? 1 : 0;
  if (chance(6) && options_.gpus > 1) {
    const int one = static_cast<int>(dice(static_cast<std::uint64_t>(options_.gpus) - 1));
    info.demand.gpu_ids = {one, one + 1};
    info.demand.gpus = 2;
  } else {
    info.demand.gpus = static_cast<int>(dice(static_cast<std::uint64_t>(options_.gpus) + 1));
  }
  info.demand.ports = static_cast<int>(dice(3));
  info.demand.memory_bytes = static_cast<std::int64_t>(dice(4)) * 100;
  info.grace = std::chrono::seconds(dice(10));
  if (chance(4)) info.time = std::chrono::seconds(1 + dice(60));
  if (chance(3)) info.owner_lease = std::chrono::seconds(15);
  info.waits_for_ready = chance(4);
  const auto accepted = engine_->check(info);
  if (accepted.ok() == draining_) fail("a submission was answered wrongly");
  if (!accepted.ok()) return;
  live_.emplace(info.id, info);
  feed(Submitted{info});
}

void ToyWorld::cancel() {
  if (live_.empty()) return;
  const JobId id = any_of(live_)->first;
  std::optional<Duration> grace;
  if (chance(2)) grace = std::chrono::seconds(dice(5));
  feed(StopRequested{id, {StopKind::cancelled, "owner", "test"}, grace});
}

void ToyWorld::answer_acquire() {
  if (acquiring_.empty()) return;
  const auto it = any_of(acquiring_);
  const AttemptId attempt = it->first;
  const Leases leases = it->second;
  std::vector<AcquireFailed::Refusal> refusals;
  for (const int gpu : leases.gpus)
    if (outsiders_.contains({false, gpu}))
      refusals.push_back({false, gpu, model::DeviceState::outside, "in use", {{1, "root", 100}}});
  for (const int port : leases.ports)
    if (outsiders_.contains({true, port}))
      refusals.push_back({true, port, model::DeviceState::outside, "in use", {}});
  acquiring_.erase(it);
  if (refusals.empty()) return feed(Acquired{attempt});
  std::erase_if(claims_, [&](const auto& claim) { return claim.second == attempt; });
  feed(AcquireFailed{attempt, std::move(refusals)});
}

void ToyWorld::answer_release() {
  if (releasing_.empty()) return;
  const auto it = any_of(releasing_);
  const act::Release release = it->second;
  releasing_.erase(it);
  model::Report report;
  report.job = release.attempt.job;
  report.attempt = static_cast<int>(release.attempt.number);
  report.reason = release.reason;
  report.exit = release.exit;
  report.released_at = wall_;
  const auto add = [&](model::ReleaseKind kind, int id) {
    model::ReleaseRecord record;
    record.kind = kind;
    record.target = std::to_string(id);
    const bool is_gpu = kind == model::ReleaseKind::gpu;
    if (is_gpu && !calm_ && chance(12)) {
      record.outcome = model::Outcome::quarantined;
      record.error = "memory is not free";
      report.complete = false;
      dirty_gpus_.insert(id);
    } else if (is_gpu && outsiders_.contains({false, id})) {
      record.outside = {{1, "root", 100}};
    }
    report.releases.push_back(std::move(record));
  };
  for (const int gpu : release.leases.gpus) add(model::ReleaseKind::gpu, gpu);
  for (const int port : release.leases.ports) add(model::ReleaseKind::port, port);
  std::erase_if(claims_, [&](const auto& claim) { return claim.second == release.attempt; });
  feed(Released{release.attempt, std::move(report)});
}

void ToyWorld::answer_ready() {
  for (auto& [attempt, keeper] : keepers_) {
    const auto job = live_.find(attempt.job);
    if (job == live_.end() || !job->second.waits_for_ready || keeper.ready_asked) continue;
    if (!keeper.alive || to_tell_started_.contains(attempt)) continue;
    keeper.ready_asked = true;
    if (!calm_ && chance(3)) return feed(ReadyFailed{attempt, "port belongs to another process"});
    return feed(BecameReady{attempt});
  }
}

void ToyWorld::deliver_start() {
  if (to_tell_started_.empty()) return;
  const AttemptId attempt = *any_of(to_tell_started_);
  to_tell_started_.erase(attempt);
  const auto at = chance(2) ? std::optional(keepers_.at(attempt).started) : std::nullopt;
  feed(Started{attempt, static_cast<int>(attempt.job.value() % 30'000), at});
}

void ToyWorld::deliver_end() {
  if (to_tell_ended_.empty()) return;
  const AttemptId attempt = *any_of(to_tell_ended_);
  to_tell_ended_.erase(attempt);
  to_tell_started_.erase(attempt);
  const Keeper& keeper = keepers_.at(attempt);
  feed(Ended{attempt, keeper.exit, {keeper.seen, std::nullopt, std::nullopt}, keeper.exited_at});
}

void ToyWorld::exit_of_a_process() {
  if (keepers_.empty()) return;
  auto& [attempt, keeper] = *any_of(keepers_);
  if (!keeper.alive || keeper.hangs) return;
  keeper.alive = false;
  keeper.exited_at = boot_;
  keeper.exit.code = static_cast<int>(dice(2));
  keeper.seen = keeper.exit.code == 0 ? StopKind::completed : StopKind::failed;
  to_tell_ended_.insert(attempt);
}

void ToyWorld::owner_event() {
  if (live_.empty()) return;
  const auto& [id, info] = *any_of(live_);
  switch (const JobId job = id; dice(6)) {
    case 0:
    case 1:
      return feed(OwnerConnected{job});
    case 2:
      return feed(OwnerDisconnected{job, std::nullopt});
    case 3:
      return feed(OwnerSuspended{job});
    case 4:
      return feed(OwnerResumed{job});
    default:
      return chance(2) ? feed(OwnerExited{job}) : feed(OwnerDropped{job});
  }
}

void ToyWorld::outsider() {
  const bool is_port = options_.ports > 0 && chance(3);
  const int id = is_port ? 38000 + static_cast<int>(dice(static_cast<std::uint64_t>(options_.ports)))
                         : static_cast<int>(dice(static_cast<std::uint64_t>(options_.gpus)));
  if (outsiders_.erase({is_port, id}) == 0 && outsiders_.size() < 2) outsiders_.insert({is_port, id});
}

// The shell looks at devices that it was asked to watch, and at quarantined ones whose processes have gone.
void ToyWorld::look() {
  if (!dirty_gpus_.empty() && chance(2)) {
    const int gpu = *any_of(dirty_gpus_);
    dirty_gpus_.erase(gpu);
    return feed(DeviceChanged{false, gpu, model::DeviceState::free, "", {}});
  }
  if (watched_.empty()) return;
  const auto [is_port, id] = *any_of(watched_);
  if (outsiders_.contains({is_port, id}))
    return feed(DeviceChanged{is_port, id, model::DeviceState::outside, "still in use", {}});
  feed(DeviceChanged{is_port, id, model::DeviceState::free, "", {}});
}

// Late and doubled messages are normal. An answer to Acquire never comes twice, so that one is not sent.
void ToyWorld::stale_message() {
  if (journal_.empty()) return;
  const auto& [id, row] = *any_of(journal_);
  const AttemptId attempt{id, static_cast<std::uint32_t>(row.attempts)};
  if (!row.ended) return;
  switch (dice(6)) {
    case 0:
      return feed(Started{attempt, 1, std::nullopt});
    case 1:
      return feed(Ended{attempt, {}, {StopKind::failed, {}, {}}, std::nullopt});
    case 2:
      return feed(Released{attempt, {}});
    case 3:
      return feed(NeverStarted{attempt});
    case 4:
      return feed(BecameReady{attempt});
    default:
      return feed(OwnerExited{id});
  }
}

void ToyWorld::pass_time(Duration by) {
  boot_ += by;
  wall_ += chance(10) ? -by : by;  // somebody sets the clock
  kill_due();
  const auto due = engine_->next_deadline();
  if (due && *due <= boot_) feed(Tick{});
}

void ToyWorld::crash() {
  // The commit that was being written may have come through, but what should follow it did not happen.
  if (!commits_.empty() && chance(2)) commit_one(false);
  ++crashes_;
  start_daemon();
}

void ToyWorld::settle() {
  calm_ = true;
  outsiders_.clear();
  if (draining_) feed(Drain{draining_ = false});
  for (int round = 0; round < 100'000 && violations_.empty(); ++round) {
    if (live_.empty() && commits_.empty()) break;
    if (!commits_.empty()) {
      commit_one();
    } else if (!acquiring_.empty()) {
      answer_acquire();
    } else if (!to_tell_started_.empty()) {
      deliver_start();
    } else if (!to_tell_ended_.empty()) {
      deliver_end();
    } else if (!releasing_.empty()) {
      answer_release();
    } else if (!dirty_gpus_.empty() || !watched_.empty()) {
      look();
    } else {
      answer_ready();
      for (int i = 0; i < 20; ++i) exit_of_a_process();
      for (const auto& [attempt, keeper] : keepers_) {
        // Once: from then on it is the engine's and the shell's to see to it.
        if (!keeper.hangs || !live_.contains(attempt.job) || !cancelled_.insert(attempt).second) continue;
        feed(StopRequested{attempt.job, {StopKind::cancelled, "owner", "hangs"}, std::nullopt});
        break;
      }
      if (to_tell_ended_.empty()) pass_time(std::chrono::seconds(1));
    }
  }
  for (const auto& [id, info] : live_) {
    std::string why;
    const auto reasons = engine_->why(id);
    for (const auto& blocker : reasons ? reasons->blockers : std::vector<model::Blocker>{})
      why += ", " + blocker.text;
    fail("job " + id.str() + " never ended" + why);
  }
  for (const auto& [id, row] : journal_)
    if (!row.ended) fail("the journal has no end of job " + id.str());
  calm_ = false;
}

void ToyWorld::shut_down() {
  std::set<JobId> waiting;
  for (const auto& [id, info] : live_)
    if (engine_->find(id)->state == model::JobState::queued) waiting.insert(id);
  feed(Shutdown{true, false});
  for (int round = 0; round < 10'000 && violations_.empty(); ++round) {
    if (engine_->idle() && commits_.empty()) break;
    if (round == 50) feed(Shutdown{true, true});
    commit_one();
    if (!acquiring_.empty()) fail("something is acquired while the daemon ends");
    deliver_start();
    deliver_end();
    answer_release();
    pass_time(std::chrono::milliseconds(100));
  }
  if (!engine_->idle()) fail("the daemon does not come to rest");
  for (const JobId id : waiting)
    if (!journal_.contains(id) || journal_.at(id).ended || journal_.at(id).attempt)
      if (live_.contains(id)) fail("job " + id.str() + " has left the queue while the daemon ended");
  draining_ = false;
  start_daemon();
}

std::size_t ToyWorld::ended() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(journal_, [](const auto& entry) { return entry.second.ended; }));
}

}  // namespace ebb::engine::test
