#include <algorithm>

#include "attempt.h"
#include "world.h"

// The locks of its leases, and the question to the driver before the lease;
// modules/daemon/src/attempt_locks.cc.
namespace ebb::simulation {

using namespace std::chrono_literals;
using model::DeviceState;

bool Attempt::take(bool is_port, int id) {
  if (locks_.contains({is_port, id})) return true;
  if (!world_.machine.lock(world_.machine.device(is_port, id))) return false;
  locks_.emplace(is_port, id);
  return true;
}

void Attempt::give_back(bool is_port, int id) {
  if (locks_.erase({is_port, id}) > 0) world_.machine.unlock(world_.machine.device(is_port, id));
}

void Attempt::give_back_all() {
  while (!locks_.empty()) give_back(locks_.begin()->first, locks_.begin()->second);
}

// For an attempt of an earlier daemon whose keeper is gone: what can be had, and nothing is said of the rest.
void Attempt::take_all() {
  for (const int gpu : leases_.gpus)
    if (!finished_ || quarantine_.contains(gpu)) (void)take(false, gpu);
  for (const int port : leases_.ports)
    if (!finished_) (void)take(true, port);
}

void Attempt::acquire() {
  const auto refuse = [&](bool is_port, int id) {
    refusals_.push_back({is_port, id, DeviceState::outside, "in use", {}});
  };
  for (const int gpu : leases_.gpus)
    if (!take(false, gpu)) refuse(false, gpu);
  for (const int port : leases_.ports)
    if (!take(true, port) || world_.machine.port_is_used(world_.machine.device(true, port)))
      refuse(true, port);
  if (world_.daemon.step()) verify();
}

void Attempt::abandon() {
  abandoned_ = true;
  give_back_all();
}

// One GPU after the other.
void Attempt::verify() {
  for (; verifying_ < leases_.gpus.size(); ++verifying_) {
    const int id = leases_.gpus[verifying_];
    if (!locks_.contains({false, id})) continue;
    Device& gpu = world_.machine.device(false, id);
    if (gpu.verified_at) {
      world_.oracle.verified(id, *std::exchange(gpu.verified_at, std::nullopt));
      continue;
    }
    if (world_.plan.mutant == Mutant::skips_checks) {
      world_.oracle.verified(id, world_.now());
      continue;
    }
    const bool hangs = gpu.hangs_until > world_.now();
    return later(hangs ? Duration(2s) : world_.random.between(500us, 20ms), What::gpu_answer);
  }
  if (refusals_.empty()) return tell(engine::Acquired{id_});
  abandon();
  if (world_.daemon.step()) tell(engine::AcquireFailed{id_, std::move(refusals_)});
}

void Attempt::gpu_answer(const Happening& /*happening*/) {
  if (abandoned_) return;
  const int id = leases_.gpus[verifying_];
  Device& gpu = world_.machine.device(false, id);
  const auto verdict = world_.machine.look(gpu, std::nullopt);
  if (verdict == Machine::Verdict::unknown) {
    refusals_.push_back({false, id, DeviceState::unknown, "no answer", {}});
  } else if (verdict != Machine::Verdict::free) {
    refusals_.push_back({false, id, DeviceState::outside, "in use", {{1, "root", 100}}});
  } else {
    world_.oracle.verified(id, world_.now());
  }
  ++verifying_;
  verify();
}

}  // namespace ebb::simulation
