#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/lifecycle/timers.h"
#include "ebb/model/report.h"

namespace ebb::lifecycle {

/// How one acquired thing is given back, and how that is verified. Runs on an event loop: nothing in it may
/// block. All calls come from the scope's thread; whatever a call throws is caught and written in the record.
///
/// The destructor may come at any moment, also between begin() and its answer (the scope is dropped): it must
/// stop what is under way, and need not give anything back.
class Release {
 public:
  using Done = std::function<void(model::ReleaseRecord)>;

  virtual ~Release() = default;

  /// Kind and target (and action, where it is known beforehand): what the record says when begin() or
  /// expire() throws.
  [[nodiscard]] virtual model::ReleaseRecord describe() const = 0;
  /// Starts giving back; called once. Calls `done` once with the result, from within begin() or later, on the
  /// scope's thread; further calls, and calls after expire(), have no effect. When it is called later, make
  /// it the last thing: it may destroy this release. `took_ms` may be left 0: then
  /// the scope fills in the time since begin(). Outcome `released` must come with `verified_by`.
  virtual void begin(Done done) = 0;
  /// The deadline has passed before `done`: stop trying, and say what is left. Called at most once.
  [[nodiscard]] virtual model::ReleaseRecord expire() = 0;
};

/// Owns all that one attempt (or one side process, or one pipeline) acquired, and gives it back: the releases
/// run in the order in which they were added, each until it is done or its deadline passes, each going on
/// after the failure of another. The records are the result; nothing is ever thrown.
///
/// States: *open* (add() is allowed), *releasing*, *released*. release() moves from open to releasing, and
/// the last record from there to released; both are idempotent and never go back.
///
/// One thread at a time, the one of its Timers; one thread can run any number of scopes. Movable, also while
/// releasing. Destroyed while open or releasing, it drops its releases without running the rest, and calls
/// nobody back: for a daemon that leaves its attempts to their keepers.
class Scope {
 public:
  /// How a release stands to the one added before it.
  enum class Order {
    after,   ///< begins when all before it are done
    beside,  ///< runs at the same time as the one before it
  };
  using Records = std::vector<model::ReleaseRecord>;
  using Done = std::function<void(const Records&)>;

  /// Both must outlive the scope.
  Scope(const Clock& clock, Timers& timers);
  Scope(Scope&&) noexcept;
  Scope& operator=(Scope&&) noexcept;
  ~Scope();

  /// Only while open (asserted); `deadline` counts from the release's begin().
  void add(std::unique_ptr<Release> release, Duration deadline, Order order = Order::after);
  /// Runs the releases. `done` is called once, with one record for each release in the order of add(): from
  /// within this call when nothing has to be waited for. Every caller is answered, also the second one and
  /// one that comes after the end. `done` may destroy the scope.
  void release(Done done);

  [[nodiscard]] bool releasing() const;
  [[nodiscard]] bool released() const;
  [[nodiscard]] std::size_t size() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// A release that is one function, which does not wait: begin() runs it and is done.
[[nodiscard]] std::unique_ptr<Release> release_by(model::ReleaseRecord what,
                                                  std::function<model::ReleaseRecord()> function);

/// What is to be assumed of a thing of this kind whose release failed or did not answer: `quarantined` where
/// handing it on would endanger somebody else, else `failed`.
[[nodiscard]] model::Outcome assumed_outcome(model::ReleaseKind kind);

/// What a report says besides its releases.
struct Ending {
  JobId job;
  int attempt = 0;
  model::StopReason reason;
  model::Exit exit;
  std::optional<std::string> tier;
  std::optional<WallTime> started_at;
  std::optional<WallTime> stop_requested_at;
};
/// The report of a scope: `complete` when every record has the outcome `released`.
[[nodiscard]] model::Report make_report(Ending ending, Scope::Records records, WallTime released_at);

}  // namespace ebb::lifecycle
