#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "ebb/base/clock.h"
#include "ebb/flow/runtime/settled.h"

namespace ebb {

/// A call to a service that is not up: it has not been started, it is being stopped, or the pipeline is
/// halted.
class ServiceStopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// A call that found no free slot in time, or did not return in time.
class ServiceTimeout : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The result of a call that was begun by call_async(). Dropped, it leaves the call to itself: it still runs.
/// Movable; one thread at a time.
template <typename U>
class [[nodiscard]] Future {
 public:
  Future() = default;
  Future(Future&&) noexcept = default;
  Future& operator=(Future&& other) noexcept {
    if (this != &other) {
      forget();
      call_ = std::move(other.call_);
      service_ = other.service_;
    }
    return *this;
  }
  Future(const Future&) = delete;
  Future& operator=(const Future&) = delete;
  ~Future() { forget(); }

  /// It has a call, whose result was not taken yet.
  [[nodiscard]] bool valid() const noexcept { return call_ != nullptr; }
  [[nodiscard]] bool ready() const { return call().ready(); }
  /// Until the result is there, or the time is over: whether it is there. On a thread of a pipeline that is
  /// halted it does not wait.
  bool wait(std::optional<Duration> timeout = {}) const {
    return call().wait(timeout ? std::optional(BootClock::now() + *timeout) : std::nullopt, *service_);
  }
  /// Waits, and takes the result: what the method gave or threw, ServiceTimeout, or, where it never ran,
  /// ServiceStopped. This one also on a thread of a pipeline that is halted meanwhile; the call goes on then.
  U get() {
    if (!wait()) {
      throw ServiceStopped("the pipeline was ended while this waited for service '" + *service_ + "'");
    }
    return std::exchange(call_, nullptr)->take();
  }
  /// Calls it once, when the result is there: on the thread that brings it, or at once. It must not block,
  /// throw, or touch this future other than by ready(). Not after the future is gone.
  void on_ready(std::function<void()> callback) const { call().on_ready(std::move(callback)); }

  // For the library.
  Future(std::shared_ptr<flow::Settled<U>> call, const std::string& service)
      : call_(std::move(call)), service_(&service) {}

 private:
  [[nodiscard]] flow::Settled<U>& call() const {
    if (!call_) throw std::logic_error("ebb: this future has no call, or its result was taken already");
    return *call_;
  }
  void forget() noexcept {
    if (call_) call_->forget();
  }

  std::shared_ptr<flow::Settled<U>> call_;
  const std::string* service_ = nullptr;  // its name, which the call keeps
};

}  // namespace ebb
