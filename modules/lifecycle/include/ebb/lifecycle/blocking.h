#pragma once

#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/model/report.h"

namespace ebb::lifecycle {

/// What an exception says, for a record or a person.
[[nodiscard]] std::string text_of(const std::exception_ptr& error);

/// A scope for code without an event loop, such as a pipeline that stops its services: releases are plain
/// functions that may block, and run on the caller's thread in *reverse* order of add(), as destructors do.
///
/// A function cannot be interrupted from outside: it gets its deadline and must return by then; when it
/// returns later, the record says so and is not `released`. What it throws is caught and recorded. Movable;
/// one thread at a time.
class BlockingScope {
 public:
  using Function = std::function<model::ReleaseRecord(BootTime deadline)>;
  using Records = std::vector<model::ReleaseRecord>;

  explicit BlockingScope(const Clock& clock = system_clock()) : clock_(&clock) {}
  BlockingScope(BlockingScope&& other) noexcept;
  BlockingScope& operator=(BlockingScope&& other) noexcept;
  /// Runs what has not been run.
  ~BlockingScope();

  /// `what`: kind and target, for the record of a function that throws. Only before release() (asserted).
  void add(model::ReleaseRecord what, Duration limit, Function function);
  /// Runs every function once; the records stand in the order in which they ran. A second call only answers.
  const Records& release() noexcept;
  [[nodiscard]] bool released() const { return released_; }

 private:
  struct Entry {
    model::ReleaseRecord what;
    Duration limit;
    Function function;
  };
  const Clock* clock_;
  std::vector<Entry> entries_;
  Records records_;
  bool released_ = false;
};

/// Calls `body(scope)` and releases the scope whatever way it ends; an exception goes on afterwards.
template <typename Body>
BlockingScope::Records run_in(BlockingScope scope, Body&& body) {
  std::forward<Body>(body)(scope);  // the scope's destructor serves the exception
  return scope.release();
}

}  // namespace ebb::lifecycle
