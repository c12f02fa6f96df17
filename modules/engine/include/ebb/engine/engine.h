#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/engine/actions.h"
#include "ebb/engine/events.h"
#include "ebb/engine/types.h"
#include "ebb/model/api.h"

namespace ebb::engine {

/// What can be seen of one live (not ended) job.
struct JobView {
  model::JobState state = model::JobState::queued;
  int attempt = 0;  ///< number of the current one; of the last one while queued
  Leases leases;    ///< of the current attempt
  std::optional<int> pid;
  std::optional<WallTime> started_at;
  std::optional<model::StopReason> stop_reason;  ///< a stop that is on its way
  bool owner_connected = false;
};

/// The pure core: the queue's policy, every job's states, and recovery. No clock, no I/O, no threads: the
/// same events with the same instants give the same actions, so that a simulator can replay a run from a
/// seed.
///
/// Policy: first in, first out within a priority. The first job that does not fit may be overtaken by jobs
/// that fit, for Limits::overtake at most; from then on what it asks for is held for it as it comes free.
///
/// Not thread-safe: one thread owns it. Events, checks and position cost O(log n) in the number of queued
/// jobs (times the number of different demands among them, which is small in practice and bounded).
class Engine {
 public:
  Engine(Machine machine, Limits limits);
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  /// What a submission must pass before Submitted: impossible demands (naming both numbers), draining, a full
  /// queue, a user's quota. Errors are complete for the API: code, message, pointer, type.
  [[nodiscard]] Result<void> check(const JobInfo& job) const;

  [[nodiscard]] Actions apply(const Event& event, Instant now);
  /// When Tick is due; empty while no time is waited for.
  [[nodiscard]] std::optional<BootTime> next_deadline() const;

  /// Empty for a job that is unknown or has ended.
  [[nodiscard]] std::optional<JobView> find(JobId job) const;
  /// From 1; empty unless queued.
  [[nodiscard]] std::optional<std::int64_t> position(JobId job) const;
  /// What a queued job waits for, and on whom.
  [[nodiscard]] std::optional<model::Why> why(JobId job) const;
  /// Each GPU and port: its state, and who holds it. uuid, name and memory are left to the shell.
  [[nodiscard]] model::Devices devices() const;
  /// Live jobs that are not queued, in order of their start.
  [[nodiscard]] std::vector<JobId> active() const;
  [[nodiscard]] std::int64_t queued_count() const;
  [[nodiscard]] bool draining() const;
  /// Whether a Shutdown has nothing left to wait for.
  [[nodiscard]] bool idle() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace ebb::engine
