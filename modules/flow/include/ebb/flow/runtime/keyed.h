#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "ebb/flow/key.h"
#include "ebb/flow/runtime/footprint.h"
#include "ebb/flow/runtime/key_table.h"
#include "ebb/flow/runtime/operators.h"
#include "ebb/flow/state.h"

/// The operators that know keys: key_by, and those with a state for each key.
namespace ebb::flow {

/// Finds each record's key, by which it is then sent to a replica.
template <typename F, typename P = FailPolicy>
struct KeyBy {
  F function;
  P policy{};
  template <typename Q>
  auto with(Q other) && {
    return KeyBy<F, Q>{std::move(function), other};
  }
  static constexpr const char* kKind = "key_by";
  static constexpr Gives kGives = Gives::one;
  static constexpr bool kBoundary = true;  // what follows runs on other threads
  template <typename In>
  using Key = std::remove_cvref_t<ResultOf<F, const Payload<In>&>>;
  template <typename In>
  using Out = KeyedRecord<Key<In>, Payload<In>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    std::optional<Key<In>> key;
    if (!guarded(policy, here, loop, payload(record),
                 [&] { key.emplace(call(function, here.slot.context, std::as_const(payload(record)))); })) {
      return;
    }
    const std::uint64_t hash = KeyHash<Key<In>>()(*key);
    next(Out<In>{.hash = hash, .key = std::move(*key), .value = std::move(payload(record))});
  }
};

/// A replica's state has a new key: the run fails where its table has more than SubmitOptions::state_limit
/// bytes.
template <typename K, typename V>
void check_size(const KeyTable<K, V>& state, Here here, Loop& loop) {
  if (state.bytes() > loop.worker.run().limits().state) [[unlikely]] {
    fail_at_limit(here, loop, "keeps more than the state_limit of the pipeline",
                  loop.worker.run().limits().state);
  }
}

/// Folds one record into a value: `void f(V&, const T&)` changes it, `V f(V, const T&)` gives the next one.
/// The value is moved into the latter only where an error ends the run: what throws must not take a key's
/// state with it.
template <typename Policy, typename F, typename V, typename T>
void fold_into(F& function, Context& context, V& value, const T& record) {
  if constexpr (Takes<F, V&, const T&> && !Takes<F, V, const T&>) {
    call(function, context, value, record);
  } else if constexpr (std::same_as<Policy, FailPolicy>) {
    value = call(function, context, std::move(value), record);
  } else {
    value = call(function, context, V(std::as_const(value)), record);
  }
}

/// The input has ended: what `out_of(key, value)` gives of each key comes out.
void give_all(auto& state, Here here, auto&& next, auto&& out_of) {
  for (auto& [key, value] : state) {
    auto out = out_of(key, value);
    ++here.hot.given;
    next(std::move(out));
  }
  state.clear();
}

/// reduce(init, f): each key's records folded into a value, which comes out when the input ends.
template <typename K, typename V, typename F, typename P = FailPolicy>
struct Fold {
  F function;
  V initial;
  P policy{};
  KeyTable<K, V> state{};
  template <typename Q>
  auto with(Q other) && {
    return Fold<K, V, F, Q>{std::move(function), std::move(initial), other};
  }
  static constexpr const char* kKind = "reduce";
  static constexpr Gives kGives = Gives::many;
  template <typename In>
  using Out = std::pair<K, V>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&&) {
    guarded(policy, here, loop, payload(record), [&] {
      note_key(here.slot.context, record);
      const auto [value, is_new] = state.try_emplace(record.hash, record.key, initial);
      if (is_new) check_size(state, here, loop);
      fold_into<P>(function, here.slot.context, *value, std::as_const(record.value));
    });
  }
  void finish(Here here, Loop&, auto&& next) {
    give_all(state, here, next,
             [](const K& key, V& value) { return std::pair<K, V>(key, std::move(value)); });
  }
};

/// reduce(f), where f combines two records into one; with Running each record brings its key's value so far,
/// else that comes out when the input ends.
template <bool Running, typename K, typename T, typename F, typename P = FailPolicy>
struct Combine {
  F function;
  P policy{};
  KeyTable<K, T> state{};
  template <typename Q>
  auto with(Q other) && {
    return Combine<Running, K, T, F, Q>{std::move(function), other};
  }
  static constexpr const char* kKind = Running ? "running_reduce" : "reduce";
  static constexpr Gives kGives = Running ? Gives::one : Gives::many;
  template <typename In>
  using Out = T;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    std::optional<T> now;
    if (!guarded(policy, here, loop, payload(record), [&] {
          note_key(here.slot.context, record);
          const auto [value, is_new] = state.try_emplace(record.hash, record.key, std::move(record.value));
          if (is_new) {
            check_size(state, here, loop);
          } else {
            fold_into<P>(function, here.slot.context, *value, std::as_const(record.value));
          }
          if constexpr (Running) now.emplace(std::as_const(*value));
        })) {
      return;
    }
    if constexpr (Running) next(std::move(*now));
  }
  void finish(Here here, Loop&, auto&& next)
    requires(!Running)
  {
    give_all(state, here, next, [](const K&, T& value) { return T(std::move(value)); });
  }
};

/// process(f): a function with its key's state. `function(record, Keyed<S>&, emit)`.
template <typename K, typename S, typename U, typename F, typename P = FailPolicy>
struct Process {
  F function;
  S initial;
  P policy{};
  KeyTable<K, S> state{};
  std::size_t sweep_at = 1024;
  template <typename Q>
  auto with(Q other) && {
    return Process<K, S, U, F, Q>{std::move(function), std::move(initial), other};
  }
  static constexpr const char* kKind = "process";
  static constexpr Gives kGives = Gives::many;
  template <typename In>
  using Out = U;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    const auto emit = emitter<U>(here, loop, next);
    guarded(policy, here, loop, payload(record), [&] { run(record, here, loop, emit); });
  }

 private:
  template <typename In, typename Emit>
  void run(In& record, Here here, Loop& loop, const Emit& emit) {
    note_key(here.slot.context, record);
    if (state.size() >= sweep_at) sweep();
    const auto [value, is_new] = state.try_emplace(record.hash, record.key, initial);
    if (is_new) check_size(state, here, loop);
    Keyed<S> keyed(*value);
    expand<U>(function, here.slot.context, emit, std::as_const(record.value), keyed);
    if (keyed.cleared()) state.erase(record.hash, record.key);
  }
  // Keys whose state says that it is empty are dropped before the table grows: it has not more than twice the
  // keys that are alive.
  void sweep() {
    if constexpr (requires(const S& one) {
                    { one.empty() } -> std::convertible_to<bool>;
                  }) {
      state.erase_if([](const auto& one) { return one.value.empty(); });
    }
    sweep_at = std::max<std::size_t>(2 * state.size(), 1024);
  }
};

/// What join_all() has kept on all replicas together, bounded.
struct JoinLimit {
  std::uint64_t limit;
  std::shared_ptr<std::atomic<std::uint64_t>> held = std::make_shared<std::atomic<std::uint64_t>>(0);
};

/// join_all(): every record of the one side with every one of the other that has the same key. Each is kept
/// for those that come later, and gives its pairs with those that came before.
template <typename K, typename A, typename B, typename F, typename P = FailPolicy>
struct JoinAll {
  F function;
  JoinLimit limit;
  P policy{};
  using Sides = std::pair<std::vector<A>, std::vector<B>>;
  KeyTable<K, Sides> state{};
  template <typename Q>
  auto with(Q other) && {
    return JoinAll<K, A, B, F, Q>{std::move(function), std::move(limit), other};
  }
  static constexpr const char* kKind = "join_all";
  static constexpr Gives kGives = Gives::many;
  using U = std::remove_cvref_t<ResultOf<F, const A&, const B&>>;
  template <typename In>
  using Out = U;

  template <typename In>
  void apply(In&& record, Here here, Loop& loop, auto&& next) {
    const auto emit = emitter<U>(here, loop, next);
    guarded(policy, here, loop, record.value, [&] {
      note_key(here.slot.context, record);
      auto& [left, right] = *state.try_emplace(record.hash, record.key, Sides()).first;
      if (record.value.index() == 0) {
        const A& mine = std::get<0>(record.value);
        for (const B& other : right) emit(call(function, here.slot.context, mine, other));
        keep(left, std::get<0>(std::move(record.value)), here, loop);
      } else {
        const B& mine = std::get<1>(record.value);
        for (const A& other : left) emit(call(function, here.slot.context, other, mine));
        keep(right, std::get<1>(std::move(record.value)), here, loop);
      }
    });
  }

 private:
  template <typename T>
  void keep(std::vector<T>& kept, T record, Here here, Loop& loop) {
    const std::uint64_t bytes = footprint(record);
    const std::uint64_t held = limit.held->fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (held > limit.limit) {
      return fail_at_limit(here, loop, "keeps more than the limit of its join_all()", limit.limit);
    }
    kept.push_back(std::move(record));
  }
};

}  // namespace ebb::flow
