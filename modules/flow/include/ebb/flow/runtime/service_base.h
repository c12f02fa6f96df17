#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ebb/flow/future.h"
#include "ebb/flow/key.h"
#include "ebb/flow/options.h"
#include "ebb/flow/runtime/histogram.h"
#include "ebb/flow/runtime/made.h"
#include "ebb/flow/runtime/pool.h"
#include "ebb/flow/runtime/worker.h"

namespace ebb {

/// How a service is registered: `ebb::service("scorer").concurrency(4).cleanup_timeout(5s)`, or its name
/// alone.
struct ServiceSpec {
  std::string name;
  std::optional<int> slots;
  std::optional<Duration> slot_timeout;
  std::optional<Duration> cleanup_limit;

  /// How many calls may be in it at a time: of a class 1, so that it needs no locks unless it wants more; of
  /// a pipeline 1,024.
  ServiceSpec concurrency(int count) && {
    slots = count;
    return std::move(*this);
  }
  /// How long a call waits for a free slot; without end unless this is said.
  ServiceSpec timeout(Duration limit) && {
    slot_timeout = limit;
    return std::move(*this);
  }
  /// How long its stop() and its cleanup() may take each, in place of SubmitOptions::cleanup_timeout.
  ServiceSpec cleanup_timeout(Duration limit) && {
    cleanup_limit = limit;
    return std::move(*this);
  }
};
[[nodiscard]] inline ServiceSpec service(std::string name) {
  ServiceSpec spec;
  spec.name = std::move(name);
  return spec;
}

namespace flow {

class Call;

/// A service without its type: its slots, its life, its counts. Calls come from any thread; the life is led
/// by the run's conductor.
///
/// A call comes from *inside*, which is another service of the same run, or from *outside*, which is all
/// else. States, in this order: *closed*; *open*; *inside only*, when the operators have ended and services
/// begin to stop, the last first, which may still call this one; *closed*.
class ServiceBase {
 public:
  ServiceBase(ServiceSpec spec, int default_slots);
  virtual ~ServiceBase() = default;
  ServiceBase(const ServiceBase&) = delete;
  ServiceBase& operator=(const ServiceBase&) = delete;

  [[nodiscard]] const ServiceSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] const std::string& name() const noexcept { return spec_.name; }

  // Its life, in this order; each is called once at most, and throws what the user's code throws.
  virtual void construct() = 0;
  virtual void setup() = 0;
  virtual void start() = 0;
  virtual void stop() = 0;
  virtual void cleanup() = 0;
  virtual void destroy() = 0;

  /// Before everything else: the run that it is a part of.
  virtual void join(std::shared_ptr<Pool> pool, const SubmitOptions&) { pool_ = std::move(pool); }
  [[nodiscard]] const std::shared_ptr<Pool>& pool() const noexcept { return pool_; }
  /// Its stop() ends the calls that are in it, and need not wait for them.
  [[nodiscard]] virtual bool ends_calls() const noexcept { return false; }
  /// Where it is a pipeline, how that stands. Any thread.
  [[nodiscard]] virtual std::shared_ptr<const PipelineReport> pipeline_report() const { return nullptr; }
  /// Calls are let in.
  void open() noexcept;
  /// No call from outside is let in any more; those that wait for a slot on their own thread throw, those
  /// that were begun go on or, with `drop`, are settled by ServiceStopped where they have no slot yet.
  void close_outside(bool drop) noexcept;
  /// Likewise from inside.
  void close_inside() noexcept;
  /// Waits until the calls that were let in have returned: those from outside or, after close_inside(), all.
  /// Whether they have by `deadline`.
  [[nodiscard]] bool await_outside(BootTime deadline);
  [[nodiscard]] bool await_all(BootTime deadline);

  /// One call's hold on a slot, on the caller's own thread. Throws ServiceStopped or ServiceTimeout. The
  /// worker is the thread's own, or null outside of a pipeline's threads.
  class Slot {
   public:
    Slot(ServiceBase& service, Worker* worker, bool inside)
        : service_(service), inside_(inside || (service.pool_ && service.pool_->inside())) {
      service.enter(worker, inside_);
      if (service.next_is_timed()) begun_ = std::chrono::steady_clock::now();
      within_.emplace(service.pool_.get());
    }
    ~Slot() {
      within_.reset();
      if (begun_) service_.took_.add_shared(std::chrono::steady_clock::now() - *begun_);
      service_.leave(inside_);
    }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    ServiceBase& service_;
    bool inside_;
    std::optional<std::chrono::steady_clock::time_point> begun_;
    std::optional<Pool::Inside> within_;
  };

  /// Begins a call, which gets a slot when one is free. Throws ServiceStopped; std::length_error where very
  /// many wait for a slot.
  void ask(const std::shared_ptr<Call>& call, bool inside, std::optional<Duration> limit);
  /// A call that was begun gives its slot back.
  void leave(const Call& call) noexcept;
  /// It does not wait for a slot any more; whether it did.
  bool withdraw(Call& call) noexcept;
  void count_timeout() noexcept { timeouts_.fetch_add(1, std::memory_order_relaxed); }

  [[nodiscard]] const Histogram& latency() const noexcept { return took_; }
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_.load(std::memory_order_relaxed); }
  /// Calls that ended by ServiceTimeout.
  [[nodiscard]] std::uint64_t timeouts() const noexcept { return timeouts_.load(std::memory_order_relaxed); }

 private:
  using Word = std::uint64_t;
  // In one word: calls that hold a slot; calls from outside that hold one or wait for it after they were
  // begun; and who is not let in.
  static constexpr Word kInSlot = 1, kFromOutside = Word{1} << 24, kCount = kFromOutside - 1;
  static constexpr Word kNoneFromOutside = Word{1} << 62, kNoneFromInside = Word{1} << 63;

  enum class Entry : std::uint8_t { entered, full, closed };
  void enter(Worker* worker, bool inside);
  void leave(bool inside) noexcept;
  // One in sixteen, in no pattern.
  bool next_is_timed() noexcept { return (mix(calls_.fetch_add(1, std::memory_order_relaxed)) & 15) == 0; }
  Entry try_enter(bool inside) noexcept;
  bool try_take_slot() noexcept;
  void give_back(bool inside) noexcept;
  void wait_for_slot(Worker* worker, bool inside);
  void hand_out() noexcept;
  std::shared_ptr<Call> next_with_slot() noexcept;
  void close(Word whom) noexcept;
  template <typename Gone>
  bool await(BootTime deadline, Gone&& gone);

  ServiceSpec spec_;
  const Word slots_;
  std::shared_ptr<Pool> pool_;
  std::atomic<Word> state_{kNoneFromOutside | kNoneFromInside};
  std::atomic<int> waiting_{0};  // threads and calls that wait for a slot, and the one that closes
  std::atomic<std::uint64_t> calls_{0}, timeouts_{0};
  Histogram took_;
  std::mutex mutex_;
  std::vector<Parker*> waiters_;
  Parker* closer_ = nullptr;
  std::list<std::shared_ptr<Call>> queue_;
  bool threads_turn_ = false;
};

/// The limit of a call: of all of it, or of its wait for a slot.
struct Patience {
  std::optional<Duration> limit;
  bool for_slot_only = false;
};

/// A call that does not run on its caller's thread: it waits for a slot, has one, gives it back.
class Call : public Task, public std::enable_shared_from_this<Call> {
 public:
  /// It has a slot now. False where it has no use for it: it was settled.
  [[nodiscard]] virtual bool begin() noexcept = 0;
  /// It never gets a slot, or its time is over. False where it was settled before.
  virtual bool give_up(std::exception_ptr error) noexcept = 0;

  [[nodiscard]] bool inside() const noexcept { return inside_; }

 private:
  friend class ServiceBase;
  bool inside_ = false;
  std::chrono::steady_clock::time_point begun_;                       // since when it has its slot
  std::optional<std::list<std::shared_ptr<Call>>::iterator> queued_;  // under the service's mutex
};

/// The same with its result, of type U.
template <typename U>
class CallFor : public Call, public Settled<U> {
 public:
  CallFor(ServiceBase& service, Patience patience) : service_(&service), patience_(patience) {}

  void expire() noexcept override {
    const bool had_no_slot = service_->withdraw(*this);
    if (patience_.for_slot_only && !had_no_slot) return;
    const char* how = had_no_slot ? "had no free slot in time" : "did not answer in time";
    if (this->fail(made_error<ServiceTimeout>("service '" + service_->name() + "' " + how))) {
      service_->count_timeout();
    }
  }
  bool give_up(std::exception_ptr error) noexcept override {
    service_->pool()->unwatch(*this);
    return this->fail(std::move(error));
  }

 private:
  ServiceBase* service_;  // which those that are derived from this keep
  Patience patience_;
};

}  // namespace flow
}  // namespace ebb
