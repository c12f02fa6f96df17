#include "ebb/flow/runtime/run_state.h"

#include "ebb/flow/runtime/worker.h"

namespace ebb::flow {
namespace {

thread_local Worker* this_threads_worker = nullptr;

}  // namespace

Worker* Worker::of_this_thread() noexcept { return this_threads_worker; }

void Worker::bind_to_this_thread() noexcept { this_threads_worker = this; }

void RunState::end_sources(bool finish) noexcept {
  if (!finish) finishes_.store(false, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  sources_end_ = true;
  for (Worker* worker : workers_) {
    if (worker->is_source()) worker->request_stop();
  }
}

void RunState::cancel() noexcept { halt_with(Halt::cancel); }

void RunState::fail(const std::string& where, std::exception_ptr error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.error) failure_ = {where, std::move(error)};
  }
  halt_with(Halt::failure);
}

void RunState::halt_with(Halt halt) noexcept {
  Halt before = Halt::none;
  halt_.compare_exchange_strong(before, halt);  // the first reason stays
  const std::lock_guard lock(mutex_);
  for (Worker* worker : workers_) worker->request_stop();
}

RunState::Failure RunState::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void RunState::enlist(Worker& worker) {
  const std::lock_guard lock(mutex_);
  workers_.push_back(&worker);
  if (halted() || (sources_end_ && worker.is_source())) worker.request_stop();
}

void RunState::withdraw(Worker& worker) {
  const std::lock_guard lock(mutex_);
  std::erase(workers_, &worker);
}

}  // namespace ebb::flow
