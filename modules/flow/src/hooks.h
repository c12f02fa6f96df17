// Where the hooks of services run: a thread that can be left behind when one of them does not come back.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "ebb/base/clock.h"

namespace ebb::flow {

/// Runs functions one after the other on a thread of its own, for one caller.
class HookThread {
 public:
  HookThread();
  /// Joins; a function that is stuck must have been abandoned.
  ~HookThread();
  HookThread(const HookThread&) = delete;
  HookThread& operator=(const HookThread&) = delete;

  /// Runs `hook` and returns what it threw, or null. Empty when it has not come back by `deadline`: then
  /// wait_on() or abandon() must follow.
  [[nodiscard]] std::optional<std::exception_ptr> run(std::function<void()> hook, BootTime deadline);
  /// Goes on waiting for the one that is under way.
  [[nodiscard]] std::optional<std::exception_ptr> wait_on(BootTime deadline);
  /// Leaves the thread behind, with all that its hook holds, and goes on with a fresh one.
  void abandon();

 private:
  struct State;
  void begin();
  std::shared_ptr<State> state_;
};

}  // namespace ebb::flow
