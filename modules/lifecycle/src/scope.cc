#include "ebb/lifecycle/scope.h"

#include <algorithm>
#include <cassert>
#include <exception>
#include <string>
#include <utility>

#include "ebb/base/units.h"
#include "records.h"

namespace ebb::lifecycle {

// Kept alive by the scope and, while one of its functions runs, by that function: a release's callback may
// destroy the scope. Callbacks that outlive the scope hold a weak pointer and find nothing.
struct Scope::State : std::enable_shared_from_this<Scope::State> {
  struct Entry {
    std::unique_ptr<Release> release;
    Duration limit;
    Order order;
    bool begun = false;
    bool done = false;
    BootTime begun_at{};
    Timers::Token timer = Timers::kNone;
    model::ReleaseRecord record;
  };
  enum class Phase { open, releasing, released };

  State(const Clock& clock_of, Timers& timers_of) : clock(clock_of), timers(timers_of) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { drop(); }

  void drop() noexcept {
    for (Entry& entry : entries) timers.cancel(std::exchange(entry.timer, Timers::kNone));
    entries.clear();
    waiters.clear();
  }

  void begin(std::size_t index) {
    Entry& entry = entries[index];
    entry.begun = true;
    entry.begun_at = clock.boot();
    ++running;
    const std::weak_ptr<State> self = weak_from_this();
    entry.timer = timers.after(entry.limit, [self, index] {
      if (const auto state = self.lock()) state->expire(index);
    });
    try {
      entry.release->begin([self, index](model::ReleaseRecord record) {
        if (const auto state = self.lock()) state->finish(index, std::move(record));
      });
    } catch (...) {
      finish(index, failure_record(*entry.release, "could not be released: ", std::current_exception()));
    }
  }

  void expire(std::size_t index) {
    Entry& entry = entries[index];
    entry.timer = Timers::kNone;
    if (entry.done) return;
    entry.done = true;  // first, so that a `done` called from within expire() has no effect
    model::ReleaseRecord record;
    try {
      record = entry.release->expire();
    } catch (...) {
      record = failure_record(*entry.release, "did not end in time: ", std::current_exception());
    }
    if (record.outcome == model::Outcome::released && !record.verified_by) {
      record.outcome = assumed_outcome(record.kind);
      if (!record.error) record.error = "was not released within " + format_duration(entry.limit);
    }
    entry.done = false;
    finish(index, std::move(record));
  }

  void finish(std::size_t index, model::ReleaseRecord record) {
    Entry& entry = entries[index];
    if (entry.done || !entry.begun) return;
    entry.done = true;
    timers.cancel(std::exchange(entry.timer, Timers::kNone));
    demand_verification(record);
    fill_in_time(record, clock.boot() - entry.begun_at);
    entry.record = std::move(record);
    --running;
    if (!advancing) advance();
  }

  // Begins what may begin, until something must be waited for. A release that answers at once comes back
  // through finish() while this loop runs, and only counts: no recursion, however long the scope.
  void advance() {
    const auto alive = shared_from_this();
    advancing = true;
    while (next < entries.size() && (running == 0 || entries[next].order == Order::beside)) begin(next++);
    advancing = false;
    if (running > 0 || next < entries.size()) return;
    phase = Phase::released;
    for (Entry& entry : entries) records.push_back(std::move(entry.record));
    entries.clear();
    for (const Done& waiter : std::exchange(waiters, {})) waiter(records);
  }

  const Clock& clock;
  Timers& timers;
  Phase phase = Phase::open;
  std::vector<Entry> entries;
  std::size_t next = 0;     // the first that has not begun
  std::size_t running = 0;  // begun and not done
  bool advancing = false;
  std::vector<Done> waiters;
  Records records;
};

Scope::Scope(const Clock& clock, Timers& timers) : state_(std::make_shared<State>(clock, timers)) {}
Scope::Scope(Scope&&) noexcept = default;
Scope& Scope::operator=(Scope&& other) noexcept {
  if (this != &other) {
    if (state_) state_->drop();
    state_ = std::move(other.state_);
  }
  return *this;
}
Scope::~Scope() {
  // Not left to the last shared pointer: a callback that is running may hold one.
  if (state_ && state_->phase != State::Phase::released) state_->drop();
}

void Scope::add(std::unique_ptr<Release> release, Duration deadline, Order order) {
  assert(state_->phase == State::Phase::open && release);
  State::Entry entry;
  entry.release = std::move(release);
  entry.limit = deadline;
  entry.order = order;
  state_->entries.push_back(std::move(entry));
}

void Scope::release(Done done) {
  if (state_->phase == State::Phase::released) {
    const auto alive = state_;  // `done` may destroy this scope
    done(alive->records);
    return;
  }
  state_->waiters.push_back(std::move(done));
  if (state_->phase == State::Phase::releasing) return;
  state_->phase = State::Phase::releasing;
  state_->advance();
}

bool Scope::releasing() const { return state_->phase == State::Phase::releasing; }
bool Scope::released() const { return state_->phase == State::Phase::released; }
std::size_t Scope::size() const { return released() ? state_->records.size() : state_->entries.size(); }

namespace {
class FunctionRelease final : public Release {
 public:
  FunctionRelease(model::ReleaseRecord what, std::function<model::ReleaseRecord()> function)
      : what_(std::move(what)), function_(std::move(function)) {}
  [[nodiscard]] model::ReleaseRecord describe() const override { return what_; }
  void begin(Done done) override { done(function_()); }
  [[nodiscard]] model::ReleaseRecord expire() override { return what_; }

 private:
  model::ReleaseRecord what_;
  std::function<model::ReleaseRecord()> function_;
};
}  // namespace

std::unique_ptr<Release> release_by(model::ReleaseRecord what,
                                    std::function<model::ReleaseRecord()> function) {
  return std::make_unique<FunctionRelease>(std::move(what), std::move(function));
}

model::Report make_report(Ending ending, Scope::Records records, WallTime released_at) {
  model::Report report;
  report.job = ending.job;
  report.attempt = ending.attempt;
  report.reason = std::move(ending.reason);
  report.exit = ending.exit;
  report.tier = std::move(ending.tier);
  report.started_at = ending.started_at;
  report.stop_requested_at = ending.stop_requested_at;
  report.released_at = released_at;
  report.complete = std::ranges::all_of(
      records, [](const auto& record) { return record.outcome == model::Outcome::released; });
  report.releases = std::move(records);
  return report;
}

}  // namespace ebb::lifecycle
