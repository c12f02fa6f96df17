#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <optional>
#include <set>

#include "ebb/lifecycle/signals.h"
#include "run_context.h"

namespace ebb::client {

/// The signals of `ebb run`: remembers the first that asks it to end, dies at once of a second one, and stops
/// and continues the process. Signals that were ignored when the process started (nohup) stay ignored.
class SignalWatch {
 public:
  explicit SignalWatch(RunContext& context) : context_(context) {}
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  [[nodiscard]] Result<void> start();
  /// The first signal that asks for the end; 0 while none came.
  [[nodiscard]] int received() const noexcept { return received_; }
  /// As if this one had come, unless one has: stdout is closed.
  void pretend(int signal);
  [[nodiscard]] bool pretended() const noexcept { return pretended_; }

  /// Run before the process stops for Ctrl+Z, and after it goes on. While on_stop runs, a second Ctrl+Z stops
  /// the process at once, and the first signal that asks for the end keeps it from stopping.
  std::function<Task<void>()> on_stop, on_continue;
  /// Whether the process stops when on_stop returns.
  [[nodiscard]] bool stopping() const noexcept { return stopping_; }

 private:
  Task<void> watch();
  void take(int signal);
  Task<void> stop_and_continue();
  static void stop();

  RunContext& context_;
  std::optional<lifecycle::SignalSource> source_;
  std::optional<boost::asio::posix::stream_descriptor> readable_;
  std::set<int> ignored_;
  int received_ = 0;
  BootTime received_at_{};
  bool pretended_ = false;
  bool stopping_ = false;
  bool in_turn_ = false;  // stop_and_continue() runs
};

}  // namespace ebb::client
