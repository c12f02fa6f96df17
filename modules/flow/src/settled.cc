#include "ebb/flow/runtime/settled.h"

#include <algorithm>

#include "ebb/flow/runtime/pool.h"
#include "ebb/flow/runtime/worker.h"

namespace ebb::flow {

void SettledBase::on_ready(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!ready_.load(std::memory_order_relaxed)) {
      callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

void SettledBase::forget() noexcept {
  const std::lock_guard lock(mutex_);
  callback_ = nullptr;
}

// Under the mutex, by which those who are woken are still there.
void SettledBase::announce() noexcept {
  ready_.store(true, std::memory_order_seq_cst);
  for (Parker* waiter : waiters_) waiter->wake();
  if (callback_) callback_();
  callback_ = nullptr;
}

bool SettledBase::wait(std::optional<BootTime> deadline, const std::string& what) const {
  if (ready()) return true;
  Worker* worker = Worker::of_this_thread();
  Parker own;
  Parker& parker = worker != nullptr ? worker->parker() : own;
  {
    const std::lock_guard lock(mutex_);
    waiters_.push_back(&parker);
  }
  {
    const Pool::Waits waits;
    const auto settled = [this] { return ready(); };
    if (worker != nullptr && deadline) {
      worker->wait_until(*deadline, Doing::calling, &what, settled);
    } else if (worker != nullptr) {
      worker->wait(Doing::calling, &what, settled);
    } else if (deadline) {
      (void)parker.wait_until(*deadline, settled);
    } else {
      parker.wait(settled);
    }
  }
  const std::lock_guard lock(mutex_);
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &parker));
  return ready_.load(std::memory_order_relaxed);
}

}  // namespace ebb::flow
