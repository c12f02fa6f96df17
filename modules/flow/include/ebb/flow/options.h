#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "ebb/base/clock.h"
#include "ebb/flow/report.h"
#include "ebb/flow/units.h"

namespace ebb {

/// Which ends run the cleanup() hooks of services; stop() and destructors always run.
enum class Cleanup { Always, OnSuccess, Never };  // NOLINT(readability-identifier-naming): as users know them

/// What happens when a thread stays in user code, which nothing can end from outside, after everything was
/// told to end.
enum class WhenStuck {
  wait,     ///< waits on, and names the operator every `watchdog`
  abandon,  ///< leaves the thread behind, with all that it uses; submit() or wait() answers. What it captured
            ///< by reference must outlive it
  exit,     ///< the report goes out, then the process ends at once with status 125
};

/// Whether somebody is told how far the pipeline is, about twice a second.
struct Progress {
  Progress() = default;
  /// True: as a line on the standard error, which is rewritten in place and gone at the end; where that is no
  /// terminal, as a line every `watchdog`. Unless it is said, on a terminal where EBB_PROGRESS=1 says so.
  Progress(bool show) : shown(show) {}
  /// By a call of this, on a thread of the pipeline; it must not wait for the pipeline's end.
  template <std::invocable<const PipelineReport&> F>
  Progress(F call) : callback(std::move(call)) {}

  std::optional<bool> shown;
  std::function<void(const PipelineReport&)> callback;
};

struct SubmitOptions {
  /// submit() waits for the end, stops and cleans the services, and throws PipelineError where it failed.
  bool autostop = false;
  /// The longest that drain() and stop() wait before they become a cancel().
  Duration grace = std::chrono::seconds(30);
  /// The longest that one service's stop() or cleanup() may take before it counts as stuck.
  Duration cleanup_timeout = std::chrono::seconds(5);
  Cleanup cleanup = Cleanup::Always;
  /// How often an end that takes long says what it waits for, on the standard error.
  Duration watchdog = std::chrono::seconds(5);
  /// Called once with the report when the pipeline has ended, on a thread of the pipeline.
  std::function<void(const PipelineReport&)> on_report = {};
  Progress progress = {};
  /// Unless it is set: exit inside a job of Ebb's, where the keeper ends what is left; else wait.
  std::optional<WhenStuck> when_stuck = {};
  /// The most threads on which calls of services work at a time that do not run on their caller's: those of
  /// call_async(), and those with a limit. They are made when they are needed.
  int call_threads = 64;
  /// How many bytes the keys of one replica of an operator may take with their states' fixed parts; the
  /// pipeline fails past it, and names the operator.
  std::uint64_t state_limit = 8_GiB;
  /// How many bytes may wait on a feedback edge; past it likewise.
  std::uint64_t feedback_limit = 256_MiB;
};

}  // namespace ebb
