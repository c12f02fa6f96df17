#include "machine.h"

#include <algorithm>

#include "world.h"

namespace ebb::simulation {

using namespace std::chrono_literals;

Machine::Machine(World& world, const engine::Machine& known) : world_(world) {
  for (const auto& gpu : known.gpus) gpus_.emplace_back().id = gpu.id;
  for (const int port : known.ports) ports_.emplace_back().id = port;
}

Device& Machine::device(bool is_port, int id) {
  return is_port ? ports_[static_cast<std::size_t>(id - ports_.front().id)]
                 : gpus_[static_cast<std::size_t>(id)];
}

bool Machine::lock(Device& device) {
  if (device.lock.daemon == 0 && !device.lock.free()) return false;
  ++device.lock.daemon;
  return true;
}

void Machine::unlock(Device& device) {
  // Else a daemon that is dead goes on, which is the simulator's own fault.
  if (device.lock.daemon == 0) return world_.oracle.fail("a lock is given back that nobody holds");
  if (--device.lock.daemon == 0) device.verified_at.reset();
}

void Machine::receive(Device& device, bool keeps) {
  --device.lock.passed;
  if (keeps) ++device.lock.daemon;
}

void Machine::daemon_dies() {
  for (auto* devices : {&gpus_, &ports_}) {
    for (Device& device : *devices) {
      device.lock.daemon = device.lock.passed = 0;
      device.verified_at.reset();
    }
  }
}

void Machine::reboot() {
  for (auto* devices : {&gpus_, &ports_}) {
    for (Device& device : *devices) device = {.id = device.id, .lock = {}};
  }
}

// The whole leases of a tree count as used for as long as a process of it is there.
Machine::Verdict Machine::look(const Device& gpu, std::optional<AttemptId> attempt) const {
  const Moment now = world_.now();
  if (gpu.hangs_until > now) return Verdict::unknown;
  bool foreign = gpu.outside;
  if (gpu.residue && gpu.residue_until > now) {
    if (gpu.residue == attempt) return Verdict::own;
    foreign = true;
  }
  for (const Keeper& keeper : world_.keepers.all()) {
    if (!keeper.tree.leader && !keeper.tree.others) continue;
    if (std::ranges::find(keeper.leases.gpus, gpu.id) == keeper.leases.gpus.end()) continue;
    if (keeper.attempt == attempt) return Verdict::own;
    foreign = true;
  }
  return foreign ? Verdict::outside : Verdict::free;
}

bool Machine::port_is_used(const Device& port) const {
  if (port.outside) return true;
  return std::ranges::any_of(world_.keepers.all(), [&](const Keeper& keeper) {
    return (keeper.tree.leader || keeper.tree.others) &&
           std::ranges::find(keeper.leases.ports, port.id) != keeper.leases.ports.end();
  });
}

void Machine::outsider_comes(bool is_port, std::size_t index) {
  Device& device = (is_port ? ports_ : gpus_)[index];
  if (device.outside) return;
  // A neighbour asks for the lock, and looks; others do neither.
  const bool neighbour = world_.random.chance(3);
  const bool used = is_port ? port_is_used(device) : look(device, std::nullopt) != Verdict::free;
  if ((neighbour || is_port) && used) return;
  if (neighbour && !device.lock.free()) return;
  device.lock.neighbour = neighbour;
  device.outside = true;
  device.outside_since = world_.now();
  if (world_.trace.on())
    world_.say(std::string(neighbour ? "a neighbour" : "a stranger") + " takes " +
               (is_port ? "port " : "gpu ") + std::to_string(device.id));
  world_.scheduler.after(world_.random.between(10ms, 30s), What::outsider_goes, 0,
                         static_cast<std::int32_t>(index), is_port);
}

void Machine::outsider_goes(bool is_port, std::size_t index) {
  Device& device = (is_port ? ports_ : gpus_)[index];
  device.outside = false;
  if (std::exchange(device.lock.neighbour, false)) device.neighbour_left = world_.now();
}

void Machine::driver_hangs(std::size_t index) {
  gpus_[index].hangs_until = world_.now() + world_.random.between(1s, 40s);
  if (world_.trace.on()) world_.say("gpu " + std::to_string(gpus_[index].id) + " does not answer");
}

void Machine::leave_residue(AttemptId attempt, const engine::Leases& leases) {
  for (const int id : leases.gpus) {
    Device& gpu = device(false, id);
    const bool long_one = world_.plan.has(Fault::residue) && !world_.calm && world_.random.chance(4);
    gpu.residue = attempt;
    gpu.residue_until =
        world_.now() + (long_one ? world_.random.between(1s, 30s) : world_.random.between(0us, 5ms));
  }
}

void Machine::calm() {
  for (auto* devices : {&gpus_, &ports_}) {
    for (Device& device : *devices) {
      device.outside = false;
      if (std::exchange(device.lock.neighbour, false)) device.neighbour_left = world_.now();
      device.hangs_until = {};
      device.residue_until = std::min(device.residue_until, world_.now() + 1s);
    }
  }
}

}  // namespace ebb::simulation
