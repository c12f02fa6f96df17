#include <algorithm>

#include "attempt.h"
#include "world.h"

// Its releases, and what they leave in quarantine: modules/daemon/src/{releases,quarantine}.cc.
namespace ebb::simulation {
namespace {

using namespace std::chrono_literals;
using model::Outcome;
using model::ReleaseKind;
using Verdict = Machine::Verdict;

constexpr Duration kGpuLimit = 10s;
const std::vector<model::OutsideUse> kUse = {{1, "root", 100}}, kNoUse = {};

model::ReleaseRecord record_of(ReleaseKind kind, int id) {
  model::ReleaseRecord record;
  record.kind = kind;
  record.target = std::to_string(id);
  return record;
}

}  // namespace

void Attempt::run_releases() {
  records_.clear();
  for (const int gpu : leases_.gpus) records_.push_back(record_of(ReleaseKind::gpu, gpu));
  gpus_left_ = records_.size();
  release_limit_ = world_.now() + kGpuLimit;
  for (std::size_t i = 0; i < records_.size(); ++i)
    later(world_.random.between(200us, 5ms), What::gpu_release, static_cast<std::int32_t>(i));
  if (gpus_left_ == 0) later(world_.random.between(50us, 2ms), What::release_done);
}

void Attempt::gpu_release(std::size_t index) {
  const int id = leases_.gpus[index];
  Device& gpu = world_.machine.device(false, id);
  auto verdict = world_.machine.look(gpu, id_);
  if (world_.plan.mutant == Mutant::frees_early) verdict = Verdict::free;
  if (verdict == Verdict::own && world_.now() < release_limit_) {
    const Moment next = std::max(world_.now() + 100ms, gpu.residue_until);
    return world_.scheduler.at(std::min(next, release_limit_), What::gpu_release, world_.life, place_,
                               static_cast<std::int32_t>(index));
  }
  model::ReleaseRecord& record = records_[index];
  if (verdict == Verdict::free) {
    record.verified_by = "nvml";
    if (locks_.contains({false, id})) gpu.verified_at = world_.now();
  } else if (verdict == Verdict::outside) {
    record.verified_by = "nvml";
    record.outside = {{1, "root", 100}};
    tell(engine::DeviceChanged{false, id, model::DeviceState::outside, "in use", *record.outside});
  } else {
    record.outcome = Outcome::quarantined;
    record.error = verdict == Verdict::unknown ? "no answer" : "in use";
  }
  if (--gpus_left_ == 0) later(world_.random.between(50us, 2ms), What::release_done);
}

void Attempt::report() {
  for (const int port : leases_.ports) {
    records_.push_back(record_of(ReleaseKind::port, port));
    // Whose the listener is, is asked of the processes that are left.
    if (!end_->complete && world_.program(job_).stuck) {
      records_.back().outcome = Outcome::quarantined;
      records_.back().error = "listens";
    } else {
      records_.back().verified_by = "no listener";
    }
  }
  model::Report report;
  report.job = id_.job;
  report.attempt = static_cast<int>(id_.number);
  report.reason = releasing_->reason;
  report.exit = releasing_->exit;
  report.started_at = releasing_->started_at;
  report.stop_requested_at = releasing_->stop_requested_at;
  report.released_at = world_.wall();
  report.releases = records_;
  report.complete = end_->complete;
  for (model::ReleaseRecord& record : report.releases) {
    if (record.kind != ReleaseKind::gpu || end_->complete) continue;
    // A process that outlived the kill may come back to any GPU of the attempt.
    if (world_.plan.mutant == Mutant::hides_survivors) {
      record.outcome = Outcome::released;
    } else if (record.outcome == Outcome::released) {
      record.outcome = Outcome::quarantined;
      record.error = "survivors";
    }
  }
  std::size_t index = 0;
  for (const int gpu : leases_.gpus)
    if (report.releases[index++].outcome == Outcome::quarantined) quarantine_.insert(gpu);
  for (const model::ReleaseRecord& record : report.releases)
    if (record.outcome != Outcome::released) report.complete = false;
  releasing_.reset();
  tell(engine::Released{id_, std::move(report)});
}

// Quarantine::look(): each that is held back, unless a process is known to be left.
void Attempt::look_at_quarantined() {
  if (!finished_ || (end_ && !end_->complete)) return;
  const auto held = quarantine_;
  for (const int id : held) {
    const auto verdict = world_.machine.look(world_.machine.device(false, id), id_);
    if (verdict != Verdict::free && verdict != Verdict::outside) continue;
    if (!world_.daemon.step()) return;
    quarantine_.erase(id);
    give_back(false, id);
    if (world_.plan.mutant == Mutant::forgets_quarantine) continue;
    const bool outside = verdict == Verdict::outside;
    tell(engine::DeviceChanged{false, id, outside ? model::DeviceState::outside : model::DeviceState::free,
                               "looked", outside ? kUse : kNoUse});
  }
}

}  // namespace ebb::simulation
