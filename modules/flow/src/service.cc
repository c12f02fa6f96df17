#include "ebb/flow/service.h"

#include <algorithm>

namespace ebb::flow {

ServiceBase::ServiceBase(ServiceSpec spec) : spec_(std::move(spec)) {
  constexpr int kMostSlots = 1 << 16;
  if (spec_.slots < 1 || spec_.slots > kMostSlots) {
    throw std::invalid_argument("ebb: concurrency of service '" + spec_.name + "' must be 1 to " +
                                std::to_string(kMostSlots));
  }
}

void ServiceBase::open() noexcept { free_.fetch_add(kClosed + spec_.slots); }

bool ServiceBase::try_enter() noexcept {
  int free = free_.load(std::memory_order_relaxed);
  while (free > 0) {
    if (free_.compare_exchange_weak(free, free - 1, std::memory_order_acquire)) return true;
  }
  return false;
}

void ServiceBase::enter(Worker* worker) {
  if (!try_enter()) wait_for_slot(worker);
  calls_.fetch_add(1, std::memory_order_relaxed);
}

void ServiceBase::leave() noexcept {
  free_.fetch_add(1, std::memory_order_seq_cst);
  if (waiting_.load(std::memory_order_seq_cst) == 0) return;
  const std::lock_guard lock(mutex_);
  for (Parker* waiter : waiters_) waiter->wake();
}

void ServiceBase::wait_for_slot(Worker* worker) {
  Parker own;
  Parker& parker = worker != nullptr ? worker->parker() : own;
  {
    const std::lock_guard lock(mutex_);
    waiters_.push_back(&parker);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }
  bool entered = false, closed = false;
  const auto ready = [&] {
    closed = free_.load(std::memory_order_seq_cst) < 0;
    entered = !closed && try_enter();
    return entered || closed;
  };
  const auto deadline =
      spec_.slot_timeout ? std::optional(BootClock::now() + *spec_.slot_timeout) : std::nullopt;
  if (worker == nullptr) {
    if (deadline) {
      (void)parker.wait_until(*deadline, ready);
    } else {
      parker.wait(ready);
    }
  } else if (deadline) {
    worker->wait_until(*deadline, Doing::calling, &spec_.name, ready);
  } else {
    worker->wait(Doing::calling, &spec_.name, ready);
  }
  {
    const std::lock_guard lock(mutex_);
    waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &parker));
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
  }
  if (entered) return;
  if (closed) throw ServiceStopped("service '" + spec_.name + "' is not up");
  if (worker != nullptr && worker->run().halted()) {
    throw ServiceStopped("the pipeline was ended while this waited for service '" + spec_.name + "'");
  }
  throw ServiceTimeout("service '" + spec_.name + "' had no free slot in time");
}

bool ServiceBase::close(BootTime deadline) {
  if (free_.load() < 0) return true;  // it was never open
  free_.fetch_sub(kClosed + spec_.slots, std::memory_order_seq_cst);
  Parker own;
  {
    const std::lock_guard lock(mutex_);
    for (Parker* waiter : waiters_) waiter->wake();
    waiters_.push_back(&own);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }
  const bool empty =
      own.wait_until(deadline, [&] { return free_.load(std::memory_order_seq_cst) == -kClosed; });
  const std::lock_guard lock(mutex_);
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &own));
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  return empty;
}

}  // namespace ebb::flow
