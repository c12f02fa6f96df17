#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ebb/engine/events.h"
#include "ebb/engine/types.h"

namespace ebb::engine {

struct Job;

/// What jobs that wait for the same have in common. Memory is divided into classes an eighth of a power of
/// two wide, so that the number of shapes stays small however many different amounts are asked for: jobs of
/// one shape never overtake each other.
struct Shape {
  int gpus = 0;
  std::vector<int> gpu_ids;  ///< exactly these; then `gpus` is their number
  int ports = 0;
  int memory_class = 0;
  auto operator<=>(const Shape&) const = default;
};

/// The waiting jobs of one shape and one priority, in order of submission. A job that is cancelled leaves its
/// entry behind: finding its neighbours would cost more than passing over it later.
struct Lane {
  struct Entry {
    std::int64_t seq = 0;
    Job* job = nullptr;  ///< valid while `seq` is counted
  };
  std::vector<Entry> entries;
  std::size_t head = 0;   ///< the first waiting job's; those before it are used up
  std::int64_t live = 0;  ///< entries of jobs that wait
};

/// The live jobs of one shape. Its head is the first job of its highest priority.
struct Group {
  Shape shape;
  std::map<int, Lane, std::greater<>> lanes;  ///< by priority, never empty ones
  std::int64_t jobs = 0;                      ///< that have this shape, waiting or not
};

struct UserTally {
  std::string name;
  std::int64_t jobs = 0;
};

/// A stop that is on its way.
struct Stop {
  model::StopReason reason;
  WallTime asked_at{};
  std::optional<BootTime> asked;  ///< empty when it was asked of an earlier daemon
  BootTime kill_at{};             ///< when the grace period ends
};

/// What an attempt has from its start to its report.
struct Attempt {
  Leases leases;
  std::uint64_t order = 0;  ///< of its start, over all attempts
  std::optional<int> pid;
  std::optional<WallTime> started_at;
  std::optional<Stop> stop;
  bool confirmed = true;  ///< false: restored, and the census has not spoken yet
};

// The states of a live job; an ended one is forgotten. What exists in one state only lives there. All but
// `Queued` are boxed: there are few of them, and a million of the other.

/// In its lane.
struct Queued {};
/// Out of its lane, but still counted as queued: the shell takes the locks of `leases`. Nothing is on disk.
struct Acquiring {
  Leases leases;
};
/// Its attempt is on disk; not running (or not ready) yet.
struct Starting {
  Attempt attempt;
};
struct Running {
  Attempt attempt;
  std::optional<BootTime> time_out;  ///< when --time has passed; of a restored one not before it is confirmed
};
/// The tree has ended; the releases run.
struct Releasing {
  Attempt attempt;
  model::StopReason reason;
  model::Exit exit;
};

template <typename T>
using Boxed = std::unique_ptr<T>;
using Phase = std::variant<Queued, Boxed<Acquiring>, Boxed<Starting>, Boxed<Running>, Boxed<Releasing>>;

/// One live job. Two cache lines: with many queued, what cancelling costs is how many of them it touches, so
/// all that it needs stands in the first.
struct alignas(64) Job {
  JobId id;
  int priority = 0;
  std::int64_t seq = 0;
  Group* group = nullptr;
  UserTally* user = nullptr;
  Phase phase;
  BootTime owner_lost_at = kNever;  ///< when the owner's lease has run out, while it runs
  std::uint32_t attempts = 0;       ///< number of the current attempt, else of the last
  bool waits_for_ready = false;
  bool owner_connected = false;
  bool owner_suspended = false;

  std::int64_t memory_bytes = 0;
  Duration grace{};
  std::optional<Duration> time;
  std::optional<Duration> owner_lease;  ///< set: attached
  std::optional<BootTime> first_since;  ///< since when it is the first that waits

  static constexpr BootTime kNever = BootTime::max();

  [[nodiscard]] AttemptId attempt_id() const { return {id, attempts}; }
  /// The attempt, in the states that have one on disk.
  [[nodiscard]] Attempt* attempt();
  [[nodiscard]] const Attempt* attempt() const { return const_cast<Job*>(this)->attempt(); }
  /// What it holds is on its way back: it was asked to stop, or its tree has ended.
  [[nodiscard]] bool releasing() const {
    const Attempt* const now = attempt();
    return now && (now->stop || std::holds_alternative<Boxed<Releasing>>(phase));
  }
};
static_assert(sizeof(Job) == 128);

/// The class of an amount of memory; 0 for none.
[[nodiscard]] int memory_class(std::int64_t bytes);
[[nodiscard]] Shape shape_of(const Demand& demand);

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};

}  // namespace ebb::engine
