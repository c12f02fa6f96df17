#include "hooks.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "ebb/flow/runtime/parker.h"
#include "thread_name.h"

namespace ebb::flow {

// What the thread and its caller share; the last of them takes it down.
struct HookThread::State {
  std::atomic<bool> busy{false}, leaves{false};
  Parker servant, caller;
  std::thread thread;

  std::mutex mutex;  // of what follows
  std::vector<Hook> hooks;
  std::vector<std::exception_ptr> thrown;  // by those that came back
  BootTime begun{};                        // the one after those

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
      while (const Hook* hook = next()) {
        std::exception_ptr threw;
        try {
          hook->body();
        } catch (...) {
          threw = std::current_exception();
        }
        end(*hook, std::move(threw));
      }
      if (leaves.load(std::memory_order_acquire)) return;
      tell(busy, false, caller);
    }
  }
  const Hook* next() {
    const std::lock_guard lock(mutex);
    if (leaves.load()) return nullptr;
    if (thrown.size() == hooks.size()) {
      hooks.clear();  // with what they hold
      return nullptr;
    }
    const Hook& hook = hooks[thrown.size()];
    begun = BootClock::now();
    if (hook.begins) hook.begins();
    return &hook;
  }
  void end(const Hook& hook, std::exception_ptr threw) {
    const std::lock_guard lock(mutex);
    if (leaves.load()) return;
    if (hook.ends) hook.ends(threw != nullptr);
    thrown.push_back(std::move(threw));
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

bool HookThread::run(std::vector<Hook> hooks, Duration limit) {
  limit_ = limit;
  const BootTime now = BootClock::now();
  {
    const std::lock_guard lock(state_->mutex);
    state_->hooks = std::move(hooks);
    state_->begun = now;
  }
  State::tell(state_->busy, true, state_->servant);
  return wait(now + limit);
}

bool HookThread::wait_on(Duration more) { return wait(BootClock::now() + more); }

bool HookThread::wait(BootTime until) {
  const CountedThread caller, servant;  // not while neither has anything to do
  while (!state_->caller.wait_until(until, [&] { return !state_->busy.load(std::memory_order_acquire); })) {
    const std::lock_guard lock(state_->mutex);
    if (state_->begun + limit_ <= until && !state_->hooks.empty()) {
      late_ = state_->thrown.size();
      late_name_ = state_->hooks[late_].name;
      return false;
    }
    until = state_->begun + limit_;  // of the one that has begun meanwhile
  }
  const std::lock_guard lock(state_->mutex);
  thrown_ = std::exchange(state_->thrown, {});
  return true;
}

bool HookThread::abandon() {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->hooks.empty() || state_->thrown.size() != late_) return false;
    State::tell(state_->leaves, true, state_->servant);
    thrown_ = std::exchange(state_->thrown, {});
  }
  state_->thread.detach();
  begin();
  return true;
}

std::vector<std::exception_ptr> HookThread::thrown() { return std::exchange(thrown_, {}); }

}  // namespace ebb::flow
