#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ebb/engine/engine.h"

// What the engine's tests share: a machine, jobs in one line, and a way to read Actions.
namespace ebb::engine::test {

inline constexpr Duration second = std::chrono::seconds(1);

[[nodiscard]] inline Machine machine(int gpus, int ports = 4, std::int64_t memory = 1'000) {
  Machine machine;
  for (int i = 0; i < gpus; ++i) machine.gpus.push_back({i, -1, {}});
  for (int i = 0; i < ports; ++i) machine.ports.push_back(38000 + i);
  machine.memory_bytes = memory;
  return machine;
}

[[nodiscard]] inline JobInfo job(std::uint32_t id, int gpus = 1, int priority = 0) {
  JobInfo info;
  info.id = JobId(id);
  info.seq = id;
  info.user = "alice";
  info.priority = priority;
  info.demand.gpus = gpus;
  info.grace = 10 * second;
  return info;
}

/// The first action of a kind in a list; null where there is none.
template <typename T, typename Variant>
[[nodiscard]] const T* first(const std::vector<Variant>& list) {
  for (const auto& item : list)
    if (const T* found = std::get_if<T>(&item)) return found;
  return nullptr;
}
template <typename T, typename Variant>
[[nodiscard]] std::vector<T> all(const std::vector<Variant>& list) {
  std::vector<T> found;
  for (const auto& item : list)
    if (const T* one = std::get_if<T>(&item)) found.push_back(*one);
  return found;
}

/// An engine with hands: it keeps the time, and plays the shell's usual answers.
class Driver {
 public:
  explicit Driver(Machine what, Limits limits = {}) : engine_(std::move(what), limits) {
    apply(RestoreDone{});
  }

  Actions apply(const Event& event) { return engine_.apply(event, now()); }
  [[nodiscard]] Instant now() const { return {boot_, wall_}; }
  void advance(Duration by) {
    boot_ += by;
    wall_ += by;
  }
  /// Moves on and tells the engine, if it waits for that.
  Actions pass(Duration by) {
    advance(by);
    const auto due = engine_.next_deadline();
    return due && *due <= boot_ ? apply(Tick{}) : Actions{};
  }
  Actions submit(const JobInfo& info) { return apply(Submitted{info}); }
  /// Submits a job that fits, and brings it to `running`; its leases.
  Leases run(const JobInfo& info, int pid = 100) {
    const Actions actions = submit(info);
    apply(Acquired{{info.id, 1}});
    apply(Started{{info.id, 1}, pid, std::nullopt});
    const auto* acquire = first<act::Acquire>(actions.now);
    return acquire ? acquire->leases : Leases{};
  }
  Actions cancel(std::uint32_t id, std::optional<Duration> grace = std::nullopt) {
    return apply(StopRequested{JobId(id), {model::StopKind::cancelled, "owner", "SIGINT"}, grace});
  }
  Actions end(std::uint32_t id, model::StopKind kind = model::StopKind::completed, std::uint32_t number = 1) {
    Ended ended{{JobId(id), number}, {}, {kind, std::nullopt, std::nullopt}, std::nullopt};
    ended.exit.code = kind == model::StopKind::completed ? 0 : 1;
    return apply(ended);
  }
  /// A report that says all is well with these leases.
  [[nodiscard]] model::Report report(std::uint32_t id, const Leases& leases, model::StopKind kind,
                                     std::uint32_t number = 1) const {
    model::Report report;
    report.job = JobId(id);
    report.attempt = static_cast<int>(number);
    report.reason.kind = kind;
    report.released_at = wall_;
    const auto add = [&](model::ReleaseKind what, int target) {
      model::ReleaseRecord record;
      record.kind = what;
      record.target = std::to_string(target);
      record.verified_by = "test";
      report.releases.push_back(record);
    };
    for (const int gpu : leases.gpus) add(model::ReleaseKind::gpu, gpu);
    for (const int port : leases.ports) add(model::ReleaseKind::port, port);
    return report;
  }
  Actions release(std::uint32_t id, const Leases& leases, model::StopKind kind = model::StopKind::completed,
                  std::uint32_t number = 1) {
    return apply(Released{{JobId(id), number}, report(id, leases, kind, number)});
  }
  Actions end_and_release(std::uint32_t id, const Leases& leases) {
    end(id);
    return release(id, leases);
  }
  [[nodiscard]] std::optional<model::JobState> state(std::uint32_t id) const {
    const auto view = engine_.find(JobId(id));
    return view ? std::optional(view->state) : std::nullopt;
  }
  Engine& engine() { return engine_; }

 private:
  Engine engine_;
  BootTime boot_ = BootTime(std::chrono::seconds(1'000));
  WallTime wall_ = WallTime(std::chrono::seconds(1'800'000'000));
};

}  // namespace ebb::engine::test
