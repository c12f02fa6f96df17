#pragma once

#include <map>
#include <utility>

#include "ebb/base/clock.h"
#include "ebb/lifecycle/timers.h"

// Time that a test or a simulator sets.
namespace ebb::lifecycle {

/// A clock that stands still until it is told to advance; `wall` can be set back on its own, as real ones do.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] WallTime wall() const override { return wall_; }
  [[nodiscard]] BootTime boot() const override { return boot_; }
  void advance(Duration by) {
    wall_ += by;
    boot_ += by;
  }
  void set_wall(WallTime wall) { wall_ = wall; }

 private:
  WallTime wall_ = WallTime(std::chrono::seconds(1'800'000'000));
  BootTime boot_ = BootTime(std::chrono::seconds(1'000));
};

/// Timers over a ManualClock. Not thread-safe.
class ManualTimers final : public Timers {
 public:
  explicit ManualTimers(ManualClock& clock) : clock_(clock) {}

  Token after(Duration delay, std::function<void()> call) override {
    const Token token = ++last_;
    calls_.emplace(std::pair(clock_.boot() + delay, token), std::move(call));
    return token;
  }
  void cancel(Token token) noexcept override {
    for (auto it = calls_.begin(); it != calls_.end(); ++it) {
      if (it->first.second == token) {
        calls_.erase(it);
        return;
      }
    }
  }
  /// Moves the clock on by `by`, stopping at each call that falls due on the way, in order of time.
  void advance(Duration by) {
    const BootTime end = clock_.boot() + by;
    while (!calls_.empty() && calls_.begin()->first.first <= end) {
      auto first = calls_.extract(calls_.begin());
      if (first.key().first > clock_.boot()) clock_.advance(first.key().first - clock_.boot());
      first.mapped()();
    }
    clock_.advance(end - clock_.boot());
  }
  [[nodiscard]] std::size_t pending() const { return calls_.size(); }

 private:
  ManualClock& clock_;
  Token last_ = kNone;
  std::map<std::pair<BootTime, Token>, std::function<void()>> calls_;
};

}  // namespace ebb::lifecycle
