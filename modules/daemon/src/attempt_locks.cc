#include "attempt_locks.h"

namespace ebb::daemon {
namespace {

engine::AcquireFailed::Refusal refusal_of(int gpu, const devices::GpuVerdict& verdict) {
  const bool unknown = verdict.kind == devices::GpuVerdict::Kind::unknown;
  return {.is_port = false,
          .id = gpu,
          .state = unknown ? model::DeviceState::unknown : model::DeviceState::outside,
          .why = verdict.text,
          .outside = verdict.outside};
}

}  // namespace

Result<std::shared_ptr<HeldLock>> AttemptLocks::take_gpu(int id) const {
  const devices::Gpu& gpu = context_.gpu(id);
  return context_.locks.take(context_.lock_directory(gpu), devices::gpu_lock_name(gpu));
}

Result<std::shared_ptr<HeldLock>> AttemptLocks::take_port(int port) const {
  return context_.locks.take(*context_.machine_locks,
                             devices::port_lock_name(static_cast<std::uint16_t>(port)));
}

void AttemptLocks::acquire(std::function<void(Refusals)> done) {
  Refusals refusals;
  take_all(refusals);
  verify(0, std::move(refusals), std::move(done));
}

void AttemptLocks::take_all(Refusals& refusals) {
  const auto refuse = [&](bool is_port, int id, const std::string& why) {
    refusals.push_back(
        {.is_port = is_port, .id = id, .state = model::DeviceState::outside, .why = why, .outside = {}});
  };
  for (const int id : leases_.gpus) {
    if (auto lock = take_gpu(id)) {
      gpus_[id] = std::move(*lock);
    } else {
      refuse(false, id, lock.error().message);
    }
  }
  for (const int port : leases_.ports) {
    auto lock = take_port(port);
    if (!lock) {
      refuse(true, port, lock.error().message);
      continue;
    }
    ports_[port] = std::move(*lock);
    const devices::PortVerdict verdict = devices::check_port_free(static_cast<std::uint16_t>(port));
    if (verdict.kind != devices::PortVerdict::Kind::free) refuse(true, port, verdict.text);
  }
}

// One GPU after the other: the driver answers one question at a time anyway.
void AttemptLocks::verify(std::size_t index, Refusals refusals, std::function<void(Refusals)> done) {
  for (; index < leases_.gpus.size(); ++index) {
    const int id = leases_.gpus[index];
    const auto lock = this->gpu(id);
    if (!lock) continue;
    const devices::Gpu& gpu = context_.gpu(id);
    if (gpu.kind == devices::GpuKind::declared || std::exchange(lock->verified_free, false)) continue;
    context_.gpus->check(gpu, devices::CheckPurpose::before_lease, {},
                         [self = shared_from_this(), index, id, refusals = std::move(refusals),
                          done = std::move(done)](const devices::GpuVerdict& verdict) mutable {
                           if (verdict.kind != devices::GpuVerdict::Kind::free)
                             refusals.push_back(refusal_of(id, verdict));
                           self->verify(index + 1, std::move(refusals), std::move(done));
                         });
    return;
  }
  done(std::move(refusals));
}

void AttemptLocks::take_again(int gpu) {
  if (gpus_.contains(gpu)) return;
  if (auto lock = take_gpu(gpu)) gpus_[gpu] = std::move(*lock);
}

void AttemptLocks::take() {
  for (const int id : leases_.gpus) take_again(id);
  for (const int port : leases_.ports) {
    if (auto lock = take_port(port)) ports_[port] = std::move(*lock);
  }
}

void AttemptLocks::adopt(std::vector<UniqueFd> handed) {
  std::size_t next = 0;
  for (const int id : leases_.gpus) {
    if (next >= handed.size()) return;
    const devices::Gpu& gpu = context_.gpu(id);
    if (auto lock = context_.locks.adopt(context_.lock_directory(gpu), devices::gpu_lock_name(gpu),
                                         std::move(handed[next++]))) {
      gpus_[id] = std::move(*lock);
    }
  }
  for (const int port : leases_.ports) {
    if (next >= handed.size()) return;
    if (auto lock = context_.locks.adopt(*context_.machine_locks,
                                         devices::port_lock_name(static_cast<std::uint16_t>(port)),
                                         std::move(handed[next++]))) {
      ports_[port] = std::move(*lock);
    }
  }
}

std::vector<int> AttemptLocks::descriptors() const {
  std::vector<int> numbers;
  numbers.reserve(leases_.gpus.size() + leases_.ports.size());
  for (const int gpu : leases_.gpus) numbers.push_back(gpus_.at(gpu)->file.fd());
  for (const int port : leases_.ports) numbers.push_back(ports_.at(port)->file.fd());
  return numbers;
}

std::shared_ptr<HeldLock> AttemptLocks::gpu(int id) const {
  const auto lock = gpus_.find(id);
  return lock == gpus_.end() ? nullptr : lock->second;
}

void AttemptLocks::give_back() {
  gpus_.clear();
  ports_.clear();
}

void AttemptLocks::keep_only(const std::set<int>& gpus) {
  ports_.clear();
  std::erase_if(gpus_, [&](const auto& entry) { return !gpus.contains(entry.first); });
}

}  // namespace ebb::daemon
