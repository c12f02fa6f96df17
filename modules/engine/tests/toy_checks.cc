#include <algorithm>

#include "toy_world.h"

// The rules that hold after every event.
namespace ebb::engine::test {

using model::DeviceState;
using model::JobState;

void ToyWorld::fail(const std::string& what) {
  violations_.push_back("seed " + std::to_string(options_.seed) + ", event " + std::to_string(events_) +
                        ": " + what);
}

void ToyWorld::check(const Actions& actions) {
  if (restoring_) return;  // the daemon is still reading its journal
  check_jobs();
  check_positions();
  check_leases();
  if (!draining_ && !engine_->draining()) check_queue(actions);
}

// Every job that was submitted is there until its end has been decided, and no longer.
void ToyWorld::check_jobs() {
  std::size_t queued = 0;
  for (const auto& [id, info] : live_) {
    const auto view = engine_->find(id);
    if (!view) return fail("job " + id.str() + " is lost");
    if (view->state == JobState::queued) ++queued;
    if (view->state >= JobState::completed) fail("job " + id.str() + " is live in a last state");
  }
  const auto active = engine_->active();
  if (active.size() + queued != live_.size()) fail("the engine has jobs that nobody submitted");
  if (static_cast<std::int64_t>(queued) != engine_->queued_count()) fail("queued_count is wrong");
  const auto running = static_cast<std::int64_t>(active.size() + acquiring_.size());
  if (running > options_.limits.max_running) fail("more jobs than may run at once");
}

void ToyWorld::check_positions() {
  std::vector<std::pair<std::pair<int, std::int64_t>, JobId>> order;
  for (const auto& [id, info] : live_)
    if (engine_->find(id)->state == JobState::queued) order.push_back({{-info.priority, info.seq}, id});
  std::ranges::sort(order);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (engine_->position(order[i].second) != static_cast<std::int64_t>(i) + 1)
      return fail("job " + order[i].second.str() + " is not at position " + std::to_string(i + 1));
  }
}

// What the jobs hold, what the shell knows to be taken and what the devices say are the same.
void ToyWorld::check_leases() {
  std::map<DeviceKey, AttemptId> held;
  std::int64_t memory = 0;
  const auto add = [&](AttemptId attempt, const Leases& leases) {
    for (const int gpu : leases.gpus)
      if (!held.emplace(DeviceKey{false, gpu}, attempt).second) fail("GPU " + std::to_string(gpu) + " twice");
    for (const int port : leases.ports)
      if (!held.emplace(DeviceKey{true, port}, attempt).second)
        fail("port " + std::to_string(port) + " twice");
    memory += leases.memory_bytes;
  };
  for (const JobId id : engine_->active()) {
    const auto view = engine_->find(id);
    add({id, static_cast<std::uint32_t>(view->attempt)}, view->leases);
  }
  for (const auto& [attempt, leases] : acquiring_) add(attempt, leases);
  if (held != claims_) fail("leases and claims differ");
  if (memory > options_.memory_bytes) fail("more memory than there is");
  const model::Devices devices = engine_->devices();
  const auto is_held = [](DeviceState state) {
    return state == DeviceState::leased || state == DeviceState::releasing;
  };
  for (const auto& gpu : devices.gpus)
    if (is_held(gpu.state) != held.contains({false, gpu.id})) fail("GPU " + std::to_string(gpu.id) + " lies");
  for (const auto& port : devices.ports)
    if (is_held(port.state) != held.contains({true, port.port}))
      fail("port " + std::to_string(port.port) + " lies");
}

struct ToyWorld::Availability {
  std::set<int> gpus;
  int ports = 0;
  std::int64_t memory = 0;

  [[nodiscard]] bool fits(const Demand& demand) const {
    if (demand.ports > ports || demand.memory_bytes > memory) return false;
    if (demand.gpu_ids.empty()) return demand.gpus <= static_cast<int>(gpus.size());
    return std::ranges::all_of(demand.gpu_ids, [this](int gpu) { return gpus.contains(gpu); });
  }
  /// How much of what the demand asks for is there.
  [[nodiscard]] std::vector<std::int64_t> covers(const Demand& demand) const {
    std::int64_t count = 0;
    for (const int gpu : demand.gpu_ids) count += gpus.contains(gpu) ? 1 : 0;
    if (demand.gpu_ids.empty()) count = std::min(demand.gpus, static_cast<int>(gpus.size()));
    return {count, std::min(demand.ports, ports), std::min(demand.memory_bytes, memory)};
  }
};

// No device lies idle that a waiting job could use, but for those that are held for the one that has waited
// too long; and from that one nothing is taken any longer.
void ToyWorld::check_queue(const Actions& actions) {
  const bool full =
      static_cast<std::int64_t>(engine_->active().size() + acquiring_.size()) >= options_.limits.max_running;
  Availability free;
  Availability reach;
  const auto strange = [](DeviceState state) {
    return state == DeviceState::outside || state == DeviceState::unknown ||
           state == DeviceState::quarantined;
  };
  const model::Devices devices = engine_->devices();
  for (const auto& gpu : devices.gpus) {
    if (gpu.state == DeviceState::free) free.gpus.insert(gpu.id);
    if (!strange(gpu.state)) reach.gpus.insert(gpu.id);
  }
  for (const auto& port : devices.ports) {
    if (port.state == DeviceState::free) ++free.ports;
    if (!strange(port.state)) ++reach.ports;
  }
  free.memory = reach.memory = options_.memory_bytes;
  for (const JobId id : engine_->active()) free.memory -= engine_->find(id)->leases.memory_bytes;
  for (const auto& [attempt, leases] : acquiring_) free.memory -= leases.memory_bytes;

  std::vector<const JobInfo*> waiting;
  for (const auto& [id, info] : live_) {
    const auto view = engine_->find(id);
    if (view->state == JobState::queued &&
        !acquiring_.contains({id, static_cast<std::uint32_t>(view->attempt + 1)}))
      waiting.push_back(&info);
  }
  std::ranges::sort(waiting, {}, [](const JobInfo* info) { return std::pair(-info->priority, info->seq); });
  const auto first =
      std::ranges::find_if(waiting, [&](const JobInfo* info) { return reach.fits(info->demand); });
  if (first == waiting.end()) return;
  const JobInfo& longest = **first;
  // Where as many run as may, nobody sees from outside whether the engine came as far as this job.
  const BootTime perhaps = perhaps_first_since_.emplace(longest.id, boot_).first->second;
  if (full) return;
  const BootTime surely = first_since_.emplace(longest.id, boot_).first->second;
  if (free.fits(longest.demand)) fail("job " + longest.id.str() + " is first, fits, and waits");
  if (boot_ - perhaps < options_.limits.overtake) {
    for (const JobInfo* info : waiting)
      if (free.fits(info->demand)) fail("job " + info->id.str() + " fits and waits, and nothing is held");
  }
  if (boot_ - surely < options_.limits.overtake) return;
  Availability earlier = free;
  bool overtaken = false;
  for (const Act& act : actions.now) {
    const auto* acquire = std::get_if<act::Acquire>(&act);
    if (!acquire) continue;
    const auto it = live_.find(acquire->attempt.job);
    if (it == live_.end()) continue;
    if (std::pair(-it->second.priority, it->second.seq) < std::pair(-longest.priority, longest.seq)) continue;
    overtaken = true;
    earlier.gpus.insert(acquire->leases.gpus.begin(), acquire->leases.gpus.end());
    earlier.ports += static_cast<int>(acquire->leases.ports.size());
    earlier.memory += acquire->leases.memory_bytes;
  }
  if (overtaken && earlier.covers(longest.demand) != free.covers(longest.demand))
    fail("job " + longest.id.str() + " was overtaken after its time");
}

}  // namespace ebb::engine::test
