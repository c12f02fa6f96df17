#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/flow/collector.h"
#include "ebb/flow/key.h"
#include "ebb/flow/runtime/guard.h"

/// The operators as a chain's type carries them: a function, its error policy, and what happens to one
/// record.
///
/// apply(record, here, loop, next) hands what comes out to `next`; Out<In> is its type. Where kGives is many,
/// `next` may be called any number of times, and drops what comes after the loop has stopped.
/// finish(here, loop, next), where there is one, is called when the input has ended.
namespace ebb::flow {

/// How many records an operator gives for one that it has processed.
enum class Gives : std::uint8_t {
  one,
  one_or_none,  ///< none: the record was filtered
  many,         ///< as many as it likes
};

/// What Context::key() gives from now on, where the record has a key.
template <typename In>
[[gnu::always_inline]] inline void note_key(Context& context, const In& record) noexcept {
  if constexpr (kIsKeyed<In>) context.set_key(record.key);
}

/// Calls the user's function with a record's payload.
template <typename Policy, typename F, typename In>
[[gnu::always_inline]] inline decltype(auto) call_with(F& function, Context& context, In& record) {
  note_key(context, record);
  return call(function, context, lend<Policy, F>(payload(record)));
}

template <typename F, typename P = FailPolicy>
struct Map {
  F function;
  P policy{};
  template <typename Q>
  auto with(Q other) && {
    return Map<F, Q>{std::move(function), other};
  }
  static constexpr const char* kKind = "map";
  static constexpr Gives kGives = Gives::one;
  template <typename In>
  using Out = std::remove_cvref_t<ResultOf<F, Payload<In>>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    std::optional<Out<In>> result;
    if (!guarded(policy, here, loop, payload(record),
                 [&] { result.emplace(call_with<P>(function, here.slot.context, record)); })) {
      return;
    }
    next(std::move(*result));
  }
};

template <typename F, typename P = FailPolicy>
struct Filter {
  F function;
  P policy{};
  template <typename Q>
  auto with(Q other) && {
    return Filter<F, Q>{std::move(function), other};
  }
  static constexpr const char* kKind = "filter";
  static constexpr Gives kGives = Gives::one_or_none;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    bool passes = false;
    if (!guarded(policy, here, loop, payload(record), [&] {
          note_key(here.slot.context, record);
          passes = static_cast<bool>(call(function, here.slot.context, std::as_const(payload(record))));
        })) {
      return;
    }
    if (!passes) return;
    ++here.hot.given;
    next(std::forward<In>(record));
  }
};

/// What a function emits to: each record goes on at once.
template <typename U>
[[gnu::always_inline]] inline auto emitter(Here here, Loop& loop, auto& next) {
  return [here, &loop, &next](U out) {
    ++here.hot.given;
    next(std::move(out));
    loop.worker.at = here.of;
  };
}

/// Calls a function that emits records: with `emit` itself, or where it wants one with a Collector<U>.
template <typename U, typename F, typename Emit, typename... A>
[[gnu::always_inline]] inline void expand(F& function, Context& context, Emit& emit, A&&... arguments) {
  if constexpr (Takes<F, A..., Emit&>) {
    call(function, context, std::forward<A>(arguments)..., emit);
  } else {
    Collector<U> gathered;
    call(function, context, std::forward<A>(arguments)..., gathered);
    for (U& out : gathered.records()) emit(std::move(out));
  }
}

template <typename U, typename F, typename P = FailPolicy>
struct FlatMap {
  F function;
  P policy{};
  template <typename Q>
  auto with(Q other) && {
    return FlatMap<U, F, Q>{std::move(function), other};
  }
  static constexpr const char* kKind = "flat_map";
  static constexpr Gives kGives = Gives::many;
  template <typename In>
  using Out = U;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    const auto emit = emitter<U>(here, loop, next);
    guarded(policy, here, loop, payload(record), [&] {
      note_key(here.slot.context, record);
      expand<U>(function, here.slot.context, emit, std::as_const(payload(record)));
    });
  }
  void finish(Here here, Loop& loop, auto&& next)
    requires requires(F& f, Collector<U>& emit) { f.finish(emit); }
  {
    guarded_hook(here, loop, [&] {
      Collector<U> gathered;
      function.finish(gathered);
      for (U& out : gathered.records()) {
        ++here.hot.given;
        next(std::move(out));
      }
    });
  }
};

template <typename F, typename P = FailPolicy>
struct Sink {
  F function;
  P policy{};
  template <typename Q>
  auto with(Q other) && {
    return Sink<F, Q>{std::move(function), other};
  }
  static constexpr const char* kKind = "sink";
  static constexpr Gives kGives = Gives::one;
  template <typename In>
  using Out = void;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&&) {
    guarded(policy, here, loop, payload(record), [&] { call_with<P>(function, here.slot.context, record); });
  }
  void finish(Here here, Loop& loop, auto&&)
    requires requires(F& f) { f.finish(); }
  {
    guarded_hook(here, loop, [&] { function.finish(); });
  }
};

/// Lets the first `left` records pass.
struct Take {
  struct Limit {
    std::uint64_t left = 0;
    void open(Context& context) const {
      if (left == 0) context.finish();
    }
  };
  Limit function{};
  static constexpr const char* kKind = "take";
  static constexpr Gives kGives = Gives::one;
  static constexpr bool kFinishes = true;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop&, auto&& next) {
    if (--function.left == 0) here.slot.context.finish();
    next(std::forward<In>(record));
  }
};

/// A map whose records keep their order through replicas: each record that goes in gives one that comes out,
/// an empty one where its function threw, so that who takes them in turn has them in order.
template <typename F, typename P = FailPolicy>
struct MapInTurn {
  F function;
  P policy{};
  static constexpr const char* kKind = "map";
  static constexpr Gives kGives = Gives::many;
  template <typename In>
  using Out = std::optional<std::remove_cvref_t<ResultOf<F, Payload<In>>>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    Out<In> result;
    (void)guarded(policy, here, loop, payload(record),
                  [&] { result.emplace(call_with<P>(function, here.slot.context, record)); });
    ++here.hot.given;
    next(std::move(result));
  }
};

/// Behind it, and behind the rings that were taken in turn: those that are not empty.
struct Ordered {
  struct None {};
  None function{};
  static constexpr const char* kKind = "ordered";
  static constexpr Gives kGives = Gives::one_or_none;
  static constexpr bool kFinishes = false;
  template <typename In>
  using Out = typename In::value_type;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop&, auto&& next) {
    if (!record) return;
    ++here.hot.given;
    next(std::move(*record));
  }
};

/// Hands on what it gets, where several streams meet or one is only to be spread.
template <typename Kind>
struct PassOn {
  struct None {};
  None function{};
  static constexpr const char* kKind = Kind::kKind;
  static constexpr Gives kGives = Gives::one;
  static constexpr bool kFinishes = false;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here, Loop&, auto&& next) {
    next(std::forward<In>(record));
  }
};
struct UnionKind {
  static constexpr const char* kKind = "union";
};
struct PassKind {
  static constexpr const char* kKind = "pass";
};
/// Leaves the key behind.
struct Unkey {
  struct None {};
  None function{};
  static constexpr const char* kKind = "pass";
  static constexpr Gives kGives = Gives::one;
  static constexpr bool kFinishes = false;
  template <typename In>
  using Out = Payload<In>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here, Loop&, auto&& next) {
    next(std::move(payload(record)));
  }
};
using Union = PassOn<UnionKind>;
using Pass = PassOn<PassKind>;

}  // namespace ebb::flow
