#include "hooks.h"

#include <atomic>
#include <thread>
#include <utility>

#include "ebb/flow/runtime/parker.h"
#include "thread_name.h"

namespace ebb::flow {

// What the thread and its caller share; the last of them takes it down.
struct HookThread::State {
  std::function<void()> hook;  // whose turn it is says `busy`
  std::exception_ptr thrown;
  std::atomic<bool> busy{false}, leaves{false};
  Parker servant, caller;
  std::thread thread;

  static void tell(std::atomic<bool>& what, bool value, Parker& whom) noexcept {
    what.store(value, std::memory_order_release);
    light_fence();
    if (whom.sleeping()) whom.wake();
  }
  void serve() {
    while (true) {
      servant.wait(
          [&] { return busy.load(std::memory_order_acquire) || leaves.load(std::memory_order_acquire); });
      if (!busy.load(std::memory_order_acquire)) return;
      try {
        hook();
      } catch (...) {
        thrown = std::current_exception();
      }
      hook = nullptr;
      tell(busy, false, caller);
    }
  }
};

HookThread::HookThread() { begin(); }

HookThread::~HookThread() {
  State::tell(state_->leaves, true, state_->servant);
  state_->thread.join();
}

void HookThread::begin() {
  state_ = std::make_shared<State>();
  state_->thread = std::thread([state = state_] {
    name_thread("ebb-services");
    state->serve();
  });
}

std::optional<std::exception_ptr> HookThread::run(std::function<void()> hook, BootTime deadline) {
  state_->hook = std::move(hook);
  State::tell(state_->busy, true, state_->servant);
  return wait_on(deadline);
}

std::optional<std::exception_ptr> HookThread::wait_on(BootTime deadline) {
  const CountedThread caller, servant;  // not while neither has anything to do
  if (!state_->caller.wait_until(deadline, [&] { return !state_->busy.load(std::memory_order_acquire); }))
    return {};
  return std::exchange(state_->thrown, nullptr);
}

void HookThread::abandon() {
  state_->thread.detach();
  state_->leaves.store(true, std::memory_order_release);
  begin();
}

}  // namespace ebb::flow
