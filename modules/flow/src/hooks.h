// Where the hooks of services run: a thread that can be left behind when one of them does not come back.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ebb/base/clock.h"

namespace ebb::flow {

/// What is called, and who hears of it, on the thread that calls it: nobody any more once that was left
/// behind.
struct Hook {
  const char* name;
  std::function<void()> body;
  std::function<void()> begins = {};
  std::function<void(bool threw)> ends = {};
};

/// Runs hooks one after the other on a thread of its own, for one caller, who is woken by the last only.
class HookThread {
 public:
  HookThread();
  /// Joins; a hook that is stuck must have been abandoned.
  ~HookThread();
  HookThread(const HookThread&) = delete;
  HookThread& operator=(const HookThread&) = delete;

  /// Runs them all, whatever they throw. False when one has not come back within `limit` of its beginning:
  /// then wait_on() or abandon() must follow.
  [[nodiscard]] bool run(std::vector<Hook> hooks, Duration limit);
  /// Goes on waiting, so much longer for the one that is late.
  [[nodiscard]] bool wait_on(Duration more);
  [[nodiscard]] const std::string& late() const noexcept { return late_name_; }
  /// Leaves the thread behind, with all that its hooks hold, and goes on with a fresh one. False where the
  /// one that was late has come back meanwhile: then wait_on() must follow.
  [[nodiscard]] bool abandon();
  /// What each of the last hooks that came back has thrown, or null.
  [[nodiscard]] std::vector<std::exception_ptr> thrown();

 private:
  struct State;
  void begin();
  [[nodiscard]] bool wait(BootTime until);

  std::shared_ptr<State> state_;
  Duration limit_{};
  std::size_t late_ = 0;
  std::string late_name_;
  std::vector<std::exception_ptr> thrown_;
};

}  // namespace ebb::flow
