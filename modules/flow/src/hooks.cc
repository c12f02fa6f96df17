#include "hooks.h"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace ebb::flow {

struct HookThread::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::function<void()> hook;
  std::exception_ptr thrown;
  bool busy = false, leaves = false;
  std::thread thread;

  void serve() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return leaves || busy; });
      if (!busy) return;
      lock.unlock();
      std::exception_ptr error;
      try {
        hook();
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      hook = nullptr;
      thrown = std::move(error);
      busy = false;
      changed.notify_all();
    }
  }
};

HookThread::HookThread() { begin(); }

HookThread::~HookThread() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->leaves = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

void HookThread::begin() {
  state_ = std::make_shared<State>();
  state_->thread = std::thread([state = state_] {
    ::pthread_setname_np(::pthread_self(), "ebb-services");
    state->serve();
  });
}

std::optional<std::exception_ptr> HookThread::run(std::function<void()> hook, BootTime deadline) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->hook = std::move(hook);
    state_->busy = true;
    state_->changed.notify_all();
  }
  return wait_on(deadline);
}

std::optional<std::exception_ptr> HookThread::wait_on(BootTime deadline) {
  std::unique_lock lock(state_->mutex);
  if (!state_->changed.wait_for(lock, deadline - BootClock::now(), [&] { return !state_->busy; })) return {};
  return std::exchange(state_->thrown, nullptr);
}

void HookThread::abandon() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->leaves = true;
    state_->thread.detach();
  }
  begin();
}

}  // namespace ebb::flow
