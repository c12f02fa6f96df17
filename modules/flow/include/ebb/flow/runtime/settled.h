#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/flow/runtime/parker.h"

namespace ebb::flow {

/// What a call and those who wait for it share, without the type of its result. Open until somebody settles
/// it; whoever comes later is told that it was. Any thread.
class SettledBase {
 public:
  SettledBase() = default;
  SettledBase(const SettledBase&) = delete;
  SettledBase& operator=(const SettledBase&) = delete;

  [[nodiscard]] bool ready() const noexcept { return ready_.load(std::memory_order_acquire); }
  /// Calls it once, when this is settled: on the thread that settles it, or at once. It must not block, throw
  /// or give up this object. After forget() it is not called any more, nor is a call under way.
  void on_ready(std::function<void()> callback);
  void forget() noexcept;
  /// Waits until it is settled, the time is over, or this is a thread of a run that was halted: whether it is
  /// settled. `what` is waited for, in reports.
  [[nodiscard]] bool wait(std::optional<BootTime> deadline, const std::string& what) const;

  /// Settles it by an error. False where it was settled before.
  bool fail(std::exception_ptr error) noexcept {
    return settle([&]() noexcept { error_ = std::move(error); });
  }

 protected:
  ~SettledBase() = default;
  template <typename Store>
  bool settle(Store&& store) noexcept {
    const std::lock_guard lock(mutex_);
    if (ready_.load(std::memory_order_relaxed)) return false;
    try {
      store();
    } catch (...) {  // of the result's own constructors
      error_ = std::current_exception();
    }
    announce();
    return true;
  }
  // Once, when ready(). The error is the caller's then, with nobody else who would let go of it meanwhile.
  void throw_error() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void announce() noexcept;

  mutable std::mutex mutex_;
  std::atomic<bool> ready_{false};
  std::exception_ptr error_;
  std::function<void()> callback_;
  mutable std::vector<Parker*> waiters_;
};

/// The same with its result, of type U.
template <typename U>
class Settled : public SettledBase {
 public:
  using Stored = std::conditional_t<std::is_void_v<U>, std::monostate, U>;

  /// Settles it by a result. False where it was settled before.
  bool succeed(Stored value) noexcept {
    return settle([&] { value_.emplace(std::move(value)); });
  }
  /// Once, when ready(): the result, or throws the error.
  U take() {
    throw_error();
    if constexpr (!std::is_void_v<U>) return std::move(*value_);
  }

 protected:
  ~Settled() = default;

 private:
  std::optional<Stored> value_;
};

}  // namespace ebb::flow
