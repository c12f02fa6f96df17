#include <algorithm>

#include "oracle.h"
#include "world.h"

// Fairness: nobody waits for what is free, and who has waited for long enough is overtaken no more.
namespace ebb::simulation {

using model::DeviceState;

struct Oracle::Availability {
  std::vector<int> gpus;
  int ports = 0;
  std::int64_t memory = 0;

  [[nodiscard]] bool has(int gpu) const { return std::ranges::find(gpus, gpu) != gpus.end(); }
  [[nodiscard]] bool fits(const engine::Demand& demand) const {
    if (demand.ports > ports || demand.memory_bytes > memory) return false;
    if (demand.gpu_ids.empty()) return demand.gpus <= static_cast<int>(gpus.size());
    return std::ranges::all_of(demand.gpu_ids, [this](int gpu) { return has(gpu); });
  }
  /// How much of what the demand asks for is there.
  [[nodiscard]] std::tuple<std::int64_t, int, std::int64_t> covers(const engine::Demand& demand) const {
    std::int64_t count = std::ranges::count_if(demand.gpu_ids, [this](int gpu) { return has(gpu); });
    if (demand.gpu_ids.empty()) count = std::min(demand.gpus, static_cast<int>(gpus.size()));
    return {count, std::min(demand.ports, ports), std::min(demand.memory_bytes, memory)};
  }
};

// What is known of each device is the engine's word; who has it is ours.
void Oracle::check_queue(const engine::Actions& actions) {
  const auto waits = [](const Live& live) { return !live.active && !live.acquiring; };
  Availability free, reach;
  const model::Devices devices = world_.daemon.engine().devices();
  const auto is_held = [](DeviceState state) {
    return state == DeviceState::leased || state == DeviceState::releasing;
  };
  const auto strange = [&](DeviceState state) { return state != DeviceState::free && !is_held(state); };
  for (const auto& gpu : devices.gpus) {
    if (is_held(gpu.state) != claims_.contains({false, gpu.id}))
      return fail("gpu " + std::to_string(gpu.id) + " lies");
    if (gpu.state == DeviceState::free) free.gpus.push_back(gpu.id);
    // One that is used from outside besides will not be free when its lease ends.
    const bool shared = gpu.outside && !gpu.outside->empty();
    if (!strange(gpu.state) && !shared) reach.gpus.push_back(gpu.id);
  }
  for (const auto& port : devices.ports) {
    if (is_held(port.state) != claims_.contains({true, port.port}))
      return fail("port " + std::to_string(port.port) + " lies");
    if (port.state == DeviceState::free) ++free.ports;
    if (!strange(port.state)) ++reach.ports;
  }
  free.memory = reach.memory = world_.plan.machine.memory_bytes;
  std::int64_t occupied = 0;
  for (const Live& live : live_) {
    if (waits(live)) continue;
    free.memory -= live.leases.memory_bytes;
    ++occupied;
  }

  const auto first = std::ranges::find_if(
      live_, [&](const Live& live) { return waits(live) && reach.fits(live.info.demand); });
  if (first == live_.end()) return;
  Live& longest = *first;
  const Moment now = world_.now();
  const std::string who = "job " + longest.info.id.str();
  // Where as many run as may, nobody sees from outside whether the engine came as far as this job.
  if (!longest.perhaps_first) longest.perhaps_first = now;
  if (occupied >= world_.plan.limits.max_running) return;
  if (!longest.surely_first) longest.surely_first = now;
  if (free.fits(longest.info.demand)) return fail(who + " is first, fits, and waits");
  const Duration limit = world_.plan.limits.overtake;
  if (now - *longest.perhaps_first < limit) {
    for (const Live& live : live_)
      if (waits(live) && free.fits(live.info.demand))
        return fail("job " + live.info.id.str() + " fits and waits, and nothing is held");
  }
  if (now - *longest.surely_first < limit) return;
  Availability earlier = free;
  bool overtaken = false;
  for (const engine::Act& act : actions.now) {
    const auto* const acquire = std::get_if<engine::act::Acquire>(&act);
    if (acquire == nullptr) continue;
    const auto by =
        std::ranges::find(live_, acquire->attempt.job, [](const Live& live) { return live.info.id; });
    if (by == live_.end() || by < first) continue;
    overtaken = true;
    for (const int gpu : acquire->leases.gpus) earlier.gpus.push_back(gpu);
    earlier.ports += static_cast<int>(acquire->leases.ports.size());
    earlier.memory += acquire->leases.memory_bytes;
  }
  if (overtaken && earlier.covers(longest.info.demand) != free.covers(longest.info.demand))
    fail(who + " was overtaken after its time");
}

}  // namespace ebb::simulation
