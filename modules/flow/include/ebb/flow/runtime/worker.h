#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/flow/runtime/histogram.h"
#include "ebb/flow/runtime/parker.h"
#include "ebb/flow/runtime/run_state.h"

namespace ebb::flow {

struct Operator;

/// What a thread of a run is at, for reports and for the watchdog, which reads it from outside.
enum class Doing : std::uint8_t {
  opening,  ///< runs open() of its operators, or waits for the others to have
  working,  ///< takes records, or is in user code
  waiting,  ///< for records, with nothing to do
  blocked,  ///< the ring to the next stage is full
  calling,  ///< waits for a free slot of a service
  answers,  ///< waits for calls that are under way
  backoff,  ///< waits before it tries a record again
  closing,  ///< runs finish(), commit() or abort(), and close()
  through,  ///< waits for the other operators, to commit when all have ended well
  ended,
};

/// The thread of one stage's replica: what it sleeps on, and how it spends its time.
class Worker {
 public:
  Worker(RunState& run, bool is_source) : run_(run), is_source_(is_source) { run.enlist(*this); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { run_.withdraw(*this); }

  /// The worker whose thread this is; null on every other thread.
  [[nodiscard]] static Worker* of_this_thread() noexcept;
  void bind_to_this_thread() noexcept;

  [[nodiscard]] RunState& run() noexcept { return run_; }
  [[nodiscard]] Parker& parker() noexcept { return parker_; }
  [[nodiscard]] bool is_source() const noexcept { return is_source_; }

  /// Requested when what runs here is to end soon: it is a source and sources are to end, nobody takes what
  /// it gives, or the run is halted.
  [[nodiscard]] std::stop_token stop_token() const noexcept { return stop_.get_token(); }
  [[nodiscard]] bool stop_requested() const noexcept { return stop_.stop_requested(); }
  /// Any thread.
  void request_stop() noexcept {
    stop_.request_stop();
    parker_.wake();
  }
  /// Rings that lead away from here, and those of them whose consumer takes nothing any more. Before the run.
  void add_consumer() noexcept { consumers_.fetch_add(1, std::memory_order_relaxed); }
  /// A consumer takes nothing any more. Any thread.
  void lose_consumer() noexcept {
    if (consumers_.fetch_sub(1, std::memory_order_acq_rel) == 1) request_stop();
  }

  /// Sleeps until `ready` holds or the run is halted, and counts the time as `doing`, at `what` (its name).
  /// False when the run was halted.
  template <typename Ready>
  bool wait(Doing doing, const std::string* what, Ready&& ready) {
    if (ready()) return !run_.halted();
    const Timed timed(*this, doing, what);
    parker_.wait([&] { return run_.halted() || ready(); });
    return !run_.halted();
  }
  /// The same, until `deadline` at most. False when the run was halted.
  template <typename Ready>
  bool wait_until(BootTime deadline, Doing doing, const std::string* what, Ready&& ready) {
    const Timed timed(*this, doing, what);
    (void)parker_.wait_until(deadline, [&] { return run_.halted() || ready(); });
    return !run_.halted();
  }

  /// From its first record to its end, or until now.
  [[nodiscard]] Duration lived() const noexcept {
    const Duration::rep begun = begun_.load(std::memory_order_relaxed);
    const Duration::rep ended = ended_.load(std::memory_order_relaxed);
    if (begun == 0) return {};
    return Duration((ended != 0 ? ended : now()) - begun);
  }

  void set(Doing doing) noexcept {
    if (doing == Doing::working && begun_.load(std::memory_order_relaxed) == 0) {
      begun_.store(now(), std::memory_order_relaxed);
    }
    if (doing == Doing::ended) ended_.store(now(), std::memory_order_relaxed);
    doing_.store(doing, std::memory_order_relaxed);
  }
  [[nodiscard]] Doing doing() const noexcept { return doing_.load(std::memory_order_relaxed); }
  /// Of the operator or service that it waits for, or null.
  [[nodiscard]] const std::string* waits_for() const noexcept {
    return waits_for_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] Duration waited() const noexcept { return Duration(waited_.load(std::memory_order_relaxed)); }
  [[nodiscard]] Duration blocked() const noexcept {
    return Duration(blocked_.load(std::memory_order_relaxed)) + held();
  }
  /// Of it, by rings without room.
  [[nodiscard]] Duration held() const noexcept { return Duration(held_.load(std::memory_order_relaxed)); }

  /// What its operators count; before the run.
  void enlist(Counts& counts) { counts_.push_back(&counts); }
  void note_history() {
    const BootTime now = BootClock::now();
    for (Counts* counts : counts_) counts->history.note(now, counts->in.load(std::memory_order_relaxed));
  }
  /// The record that is timed is there, and goes on its way through the loop now.
  void begin_sample() noexcept { sample_ = std::chrono::steady_clock::now(); }
  /// It has gone it; waits for room behind it do not count.
  void end_sample(std::chrono::steady_clock::time_point now, Duration blocked) noexcept {
    if (sample_) latency_.add(now - *sample_ - blocked);
    sample_.reset();
  }
  [[nodiscard]] const Histogram& latency() const noexcept { return latency_; }

  /// The operator whose function runs now. A plain store for each record, which the compiler may drop between
  /// calls that it sees through, and must have made before any call that it does not, which is where a thread
  /// can be stuck; whoever reads it from another thread asks the kernel to (a read in C++ would be a race).
  const Operator* at = nullptr;

 private:
  class Timed {
   public:
    Timed(Worker& worker, Doing doing, const std::string* what) : worker_(worker), doing_(doing) {
      before_ = worker.doing();
      worker.waits_for_.store(what, std::memory_order_relaxed);
      worker.set(doing);
    }
    ~Timed() {
      auto& sum = doing_ == Doing::waiting   ? worker_.waited_
                  : doing_ == Doing::blocked ? worker_.held_
                                             : worker_.blocked_;
      if (doing_ != Doing::opening) {
        sum.store(sum.load(std::memory_order_relaxed) + (BootClock::now() - begun_).count(),
                  std::memory_order_relaxed);
      }
      worker_.waits_for_.store(nullptr, std::memory_order_relaxed);
      worker_.set(before_);
    }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

   private:
    Worker& worker_;
    Doing doing_, before_;
    BootTime begun_ = BootClock::now();
  };

  static Duration::rep now() noexcept { return BootClock::now().time_since_epoch().count(); }

  RunState& run_;
  const bool is_source_;
  // On a line of its own: producers look at it for every record, and all else here is written all the time.
  alignas(kCacheLine) Parker parker_;
  alignas(kCacheLine) std::stop_source stop_;
  std::atomic<int> consumers_{0};
  std::atomic<Doing> doing_{Doing::opening};
  std::atomic<const std::string*> waits_for_{nullptr};
  std::vector<Counts*> counts_;
  Histogram latency_;
  std::optional<std::chrono::steady_clock::time_point> sample_;
  std::atomic<Duration::rep> waited_{0}, blocked_{0}, held_{0}, begun_{0}, ended_{0};
};

}  // namespace ebb::flow
