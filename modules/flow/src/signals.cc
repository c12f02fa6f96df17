#include "signals.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <system_error>
#include <thread>

#include "ebb/base/unique_fd.h"
#include "ebb/flow/environment.h"
#include "ebb/flow/signals.h"
#include "run.h"
#include "thread_name.h"

namespace ebb::flow {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};

std::atomic<int> heard{0}, bell{-1};

// Runs on whatever thread the signal comes to, between any two instructions of it.
void on_signal(int signal) {
  if (heard.fetch_add(1) >= 2) {
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
    ::raise(signal);  // delivered when this returns
    return;
  }
  const int before = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(bell.load(), &one, sizeof one);
  errno = before;
}

// The handlers and the thread that carries on what they hear; there while there is somebody to tell.
class Listener {
 public:
  static Listener& get() {
    static Listener listener;
    return listener;
  }

  void add(StopTarget& target) {
    const std::lock_guard guard(life_);
    {
      const std::lock_guard lock(mutex_);
      targets_.insert(&target);
    }
    if (thread_.joinable()) return;
    try {
      begin();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      targets_.erase(&target);
      throw;
    }
  }
  void remove(StopTarget& target) noexcept {
    const std::lock_guard guard(life_);
    {
      const std::lock_guard lock(mutex_);
      targets_.erase(&target);
      if (!targets_.empty() || !thread_.joinable()) return;
    }
    for (std::size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    ends_.store(true);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(fd_.get(), &one, sizeof one);
    thread_.join();
    bell.store(-1);
    fd_.reset();
  }

 private:
  void begin() {
    fd_.reset(::eventfd(0, EFD_CLOEXEC));
    if (!fd_) throw std::system_error(errno, std::system_category(), "ebb: cannot listen for signals");
    bell.store(fd_.get());
    heard.store(0);
    ends_.store(false);
    thread_ = std::thread([this] {
      name_thread("ebb-signals");
      listen();
    });
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
      struct sigaction action = {};
      action.sa_handler = on_signal;
      action.sa_flags = SA_RESTART;
      ::sigaction(kSignals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
    }
  }
  void listen() {
    std::uint64_t rings = 0;
    while (true) {
      // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): each round lets go of its lock
      if (::read(fd_.get(), &rings, sizeof rings) < 0 && errno != EINTR) return;
      if (ends_.load()) return;
      const std::lock_guard lock(mutex_);
      for (StopTarget* target : targets_) target->signalled(heard.load());
    }
  }

  std::mutex life_;  // of what follows but the targets
  UniqueFd fd_;
  struct sigaction before_[std::size(kSignals)] = {};
  std::atomic<bool> ends_{false};
  std::thread thread_;
  std::mutex mutex_;
  std::set<StopTarget*> targets_;
};

}  // namespace

StopTarget::StopTarget() { Listener::get().add(*this); }
StopTarget::~StopTarget() { Listener::get().remove(*this); }

void StopTarget::set(const std::shared_ptr<Run>& run) {
  const std::lock_guard lock(mutex_);
  run_ = run;
  follow();
}

void StopTarget::signalled(int count) {
  const std::lock_guard lock(mutex_);
  count_ = count;
  follow();
}

void StopTarget::follow() {
  const auto run = run_.lock();
  if (run && count_ > 0) run->request(count_ == 1 ? Run::Request::stop : Run::Request::cancel);
}

}  // namespace ebb::flow

namespace ebb {

void stop_on_signals(LocalEnvironment& environment) {
  if (environment.stop_target_) return;
  environment.stop_target_ = std::make_shared<flow::StopTarget>();
  if (const auto run = environment.run_.lock()) environment.stop_target_->set(run);
}

}  // namespace ebb
