#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "ebb/flow/future.h"
#include "ebb/flow/runtime/made.h"
#include "ebb/flow/runtime/operators.h"
#include "ebb/flow/runtime/pool.h"

/// async_map(): calls that are under way while the operator takes further records.
namespace ebb {

inline constexpr int kMostInFlight = 65536;

struct AsyncOptions {
  int in_flight = 64;   ///< calls under way at a time, in each replica
  bool ordered = true;  ///< results come out in the order of the records, else as they come in
};

namespace flow {

/// What comes of a function's result in the end: of a Future, a std::future or another thing with get() and
/// wait() what it holds, else itself.
template <typename R>
struct Awaited {
  using type = R;
  static constexpr bool kIsCall = false;
};
template <typename R>
  requires requires(R result) { result.wait(), result.get(); }
struct Awaited<R> {
  using type = std::remove_cvref_t<decltype(std::declval<R&>().get())>;
  static constexpr bool kIsCall = false;
};
template <typename U>
struct Awaited<Future<U>> {
  using type = U;
  static constexpr bool kIsCall = true;  // it is under way without a thread of ours
};

/// A function that gives no Future, on a thread of the run's pool with one record.
template <typename U, typename F, typename T>
class AsyncCall final : public Task, public Settled<U> {
 public:
  AsyncCall(F& function, std::shared_ptr<const T> record, std::shared_ptr<std::atomic<bool>> dropped)
      : function_(&function), record_(std::move(record)), dropped_(std::move(dropped)) {}

  void run() noexcept override {
    if (dropped_->load()) return drop();
    // Settled when the handler is over: this thread has no hold on the error then.
    std::exception_ptr error;
    try {
      if constexpr (std::same_as<std::remove_cvref_t<std::invoke_result_t<F&, const T&>>, U>) {
        this->succeed(std::invoke(*function_, *record_));
      } else {
        this->succeed(std::invoke(*function_, *record_).get());
      }
    } catch (...) {
      error = std::current_exception();
    }
    if (error) this->fail(std::move(error));
  }
  void drop() noexcept override {
    this->fail(made_error<ServiceStopped>("the pipeline was ended before this call began"));
  }
  void expire() noexcept override {}

 private:
  F* function_;
  std::shared_ptr<const T> record_;
  std::shared_ptr<std::atomic<bool>> dropped_;
};

/// The first operator of a stage that waits for rings, since it must hear of answers at any time: poll()
/// gives what has come, complete() waits for all of it when the input has ended, abandon() for none but what
/// runs.
template <typename T, typename F, typename P = FailPolicy>
struct AsyncMap {
  F function;
  AsyncOptions options;
  P policy{};
  template <typename Q>
  auto with(Q other) && {
    return AsyncMap<T, F, Q>{std::move(function), options, other};
  }
  static constexpr const char* kKind = "async_map";
  static constexpr Gives kGives = Gives::many;
  static constexpr bool kAsync = true;
  using Result = std::remove_cvref_t<ResultOf<F, const T&>>;
  using U = typename Awaited<Result>::type;
  template <typename In>
  using Out = U;
  static constexpr bool kCallsSafely = Awaited<Result>::kIsCall || std::invocable<F&, const T&>;

  template <typename In>
  void apply(In&& record, Here here, Loop& loop, auto&& next) {
    while (flights.size() >= static_cast<std::size_t>(options.in_flight)) {
      if (!wait(here, loop)) return;
      poll(here, loop, next);
    }
    note_key(here.slot.context, record);
    auto kept = std::make_shared<T>(std::move(payload(record)));
    Flight flight{.record = std::move(kept), .answer = {}};
    if (!guarded(policy, here, loop, *flight.record,
                 [&] { flight.answer = begin(here, loop, flight.record); })) {
      return;
    }
    Parker& parker = loop.worker.parker();
    flight.answer.on_ready([&parker] {
      light_fence();
      if (parker.sleeping()) parker.wake();
    });
    if (here.of->cycle != nullptr) here.of->cycle->enter(1);
    flights.push_back(std::move(flight));
    poll(here, loop, next);
  }
  /// Whether poll() would give something.
  [[nodiscard]] bool ready() const {
    if (options.ordered) return !flights.empty() && flights.front().answer.ready();
    return std::any_of(flights.begin(), flights.end(), [](const Flight& one) { return one.answer.ready(); });
  }
  void poll(Here here, Loop& loop, auto&& next) {
    for (auto at = flights.begin(); at != flights.end();) {
      if (!at->answer.ready()) {
        if (options.ordered) return;
        ++at;
        continue;
      }
      Flight flight = std::move(*at);
      at = flights.erase(at);
      land(std::move(flight), here, loop, next);
    }
  }
  void complete(Here here, Loop& loop, auto&& next) {
    while (!flights.empty() && wait(here, loop)) poll(here, loop, next);
  }
  /// What has landed was given on.
  void settled(const Operator& of) noexcept {
    if (of.cycle != nullptr && flights.landed != 0) of.cycle->leave(std::exchange(flights.landed, 0));
  }
  void abandon(Worker& worker, const Operator& of) noexcept {
    flights.dropped->store(true);
    // A function that runs on the pool uses this object.
    if constexpr (!Awaited<Result>::kIsCall) {
      worker.parker().wait([&] {
        return std::all_of(flights.begin(), flights.end(),
                           [](const Flight& one) { return one.answer.ready(); });
      });
    }
    flights.landed += flights.size();
    flights.clear();
    settled(of);
  }

  // A copy, for a replica of its own, has nothing under way.
  struct Flight {
    std::shared_ptr<T> record;
    Future<U> answer;
  };
  struct Flights : std::deque<Flight> {
    Flights() = default;
    Flights(const Flights&) : Flights() {}
    Flights(Flights&&) noexcept = default;
    Flights& operator=(const Flights&) = delete;
    Flights& operator=(Flights&&) = delete;
    ~Flights() = default;

    std::shared_ptr<std::atomic<bool>> dropped = std::make_shared<std::atomic<bool>>(false);
    std::uint64_t landed = 0;  // whose results were not given on yet
  };
  Flights flights{};

 private:
  Future<U> begin(Here here, Loop& loop, const std::shared_ptr<T>& record) {
    if constexpr (Awaited<Result>::kIsCall) {
      return call(function, here.slot.context, lend<P, F>(*record));
    } else {
      auto task = std::make_shared<AsyncCall<U, F, T>>(function, record, flights.dropped);
      if (!loop.worker.run().pool().run(task)) task->drop();
      return Future<U>(std::move(task), here.of->name);
    }
  }
  // Until there is something to give; false when the run was halted.
  bool wait(Here here, Loop& loop) {
    return loop.worker.wait(Doing::answers, &here.of->name, [&] { return ready(); });
  }
  void land(Flight flight, Here here, Loop& loop, auto&& next) {
    std::optional<U> out;
    bool again = false;
    const bool done = guarded(policy, here, loop, *flight.record, [&] {
      if (std::exchange(again, true)) flight.answer = begin(here, loop, flight.record);
      out.emplace(flight.answer.get());
    });
    ++flights.landed;
    if (!done) return;
    ++here.hot.given;
    next(std::move(*out));
  }
};

}  // namespace flow
}  // namespace ebb
