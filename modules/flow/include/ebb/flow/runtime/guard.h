#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include "ebb/flow/context.h"
#include "ebb/flow/policy.h"
#include "ebb/flow/runtime/side.h"

namespace ebb::flow {

// A user's function takes its arguments, or its arguments and then a Context&.

template <typename F, typename... A>
concept TakesContext = std::invocable<F&, A..., Context&> && !std::invocable<F&, A...>;
template <typename F, typename... A>
concept Takes = std::invocable<F&, A...> || std::invocable<F&, A..., Context&>;

template <typename F, typename... A>
decltype(auto) call(F& function, Context& context, A&&... arguments) {
  if constexpr (TakesContext<F, A...>) {
    return std::invoke(function, std::forward<A>(arguments)..., context);
  } else {
    return std::invoke(function, std::forward<A>(arguments)...);
  }
}
template <typename F, typename... A>
using ResultOf = decltype(call(std::declval<F&>(), std::declval<Context&>(), std::declval<A>()...));

/// What a loop over records and its cold paths share; one for each replica.
struct Loop {
  Worker& worker;
  /// No further record is to be taken: an operator has failed, has finished, or nobody wants what comes out.
  bool stopped = false;
};

/// The user's function threw what is being handled now, and its policy gives up: the run fails.
[[gnu::cold]] void give_up(Slot& slot, Loop& loop) noexcept;
/// Waits before try number `tries`; false when the run was halted meanwhile.
[[gnu::cold]] bool back_off(const RetryPolicy& policy, int tries, const Slot& slot, Loop& loop);

/// What one pass over some records counts of an operator; all else follows from it (Chained::settle). They
/// are local variables of that loop, hence registers: nothing on the way of a record may take their address.
struct Hot {
  std::uint64_t given = 0;    ///< records that came out, where that is not one for each
  std::uint64_t lost = 0;     ///< those whose function threw and that the policy gave up
  std::uint64_t dropped = 0;  ///< given, but the next operator did not take it
};

/// Where a record is: an operator, on its way through a loop.
struct Here {
  Slot& slot;
  const Operator* of;
  Hot& hot;
};

/// A limit of the pipeline was reached: the run fails, whatever the policy.
[[gnu::cold]] void fail_at_limit(Here here, Loop& loop, const std::string& what, std::uint64_t bytes);

/// Policies that need the record again after its function has thrown.
template <typename Policy>
inline constexpr bool kKeepsRecord = !std::same_as<Policy, FailPolicy> && !std::same_as<Policy, SkipPolicy>;

/// What the exception that is being handled says.
[[nodiscard]] std::string text_of_current();

[[gnu::cold]] inline void lose(const FailPolicy&, Slot& slot, Loop& loop) noexcept { give_up(slot, loop); }
[[gnu::cold]] inline void lose(const SkipPolicy&, Slot& slot, Loop&) noexcept {
  Counts::add(slot.counts.skipped, 1);
}
template <typename T>
[[gnu::cold]] void lose(const DeadLetterPolicy<T>& policy, Slot& slot, Loop&, T& record) {
  Counts::add(slot.counts.dead_lettered, 1);
  give_to_side(slot.context, *policy.side,
               DeadLetter<T>{.record = std::move(record), .error = text_of_current(), .op = slot.of->name});
}

/// Tries again what threw what is being handled; true when it has worked.
[[gnu::cold]] bool retried(const RetryPolicy& policy, Slot& slot, Loop& loop, auto&& body) {
  std::exception_ptr last = std::current_exception();
  for (int tries = 1; tries <= policy.times && back_off(policy, tries, slot, loop); ++tries) {
    try {
      body();
      return true;
    } catch (...) {
      last = std::current_exception();
    }
  }
  try {
    std::rethrow_exception(last);
  } catch (...) {
    give_up(slot, loop);
  }
  return false;
}

/// Calls `body`, which calls one function of the user's for this record and nothing else; what it throws is
/// dealt with by the operator's policy. True when the function has done its work. What follows the operator
/// is called outside, so that no error unwinds through another function of the user's.
template <typename Policy>
[[gnu::always_inline]] inline bool guarded(Policy& policy, Here here, Loop& loop,
                                           [[maybe_unused]] auto& record, auto&& body) {
  loop.worker.at = here.of;
  try {
    body();
    return true;
  } catch (...) {
    if constexpr (std::same_as<Policy, RetryPolicy>) {
      if (retried(policy, here.slot, loop, body)) return true;
    } else if constexpr (kKeepsRecord<Policy>) {
      lose(policy, here.slot, loop, record);
    } else {
      lose(policy, here.slot, loop);
    }
    ++here.hot.lost;
    return false;
  }
}
/// The same for a function that is called for no record; what it throws fails the run.
inline void guarded_hook(Here here, Loop& loop, auto&& body) {
  loop.worker.at = here.of;
  try {
    body();
  } catch (...) {
    loop.stopped = true;
    loop.worker.run().fail(here.of->name, std::current_exception());
  }
}

/// The record as its function gets it: for good, or, where the policy may need it again, to look at or as a
/// copy.
template <typename Policy, typename F, typename T>
decltype(auto) lend(T& record) {
  if constexpr (!kKeepsRecord<Policy>) {
    return std::move(record);
  } else if constexpr (Takes<F, const T&>) {
    return std::as_const(record);
  } else {
    return T(std::as_const(record));
  }
}

}  // namespace ebb::flow
