#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

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
  static constexpr const char* kKind = "map";
  static constexpr Gives kGives = Gives::one;
  template <typename In>
  using Out = std::remove_cvref_t<ResultOf<F, Payload<In>>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    std::optional<Out<In>> result;
    if (!guarded(policy, here, loop,
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
  static constexpr const char* kKind = "filter";
  static constexpr Gives kGives = Gives::one_or_none;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    bool passes = false;
    if (!guarded(policy, here, loop, [&] {
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

/// Gathers what a function emits that cannot be a template.
template <typename U>
class Collector {
 public:
  void operator()(U record) { records_.push_back(std::move(record)); }
  [[nodiscard]] std::vector<U>& records() noexcept { return records_; }

 private:
  std::vector<U> records_;
};

template <typename U, typename F, typename P = FailPolicy>
struct FlatMap {
  F function;
  P policy{};
  static constexpr const char* kKind = "flat_map";
  static constexpr Gives kGives = Gives::many;
  template <typename In>
  using Out = U;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    const auto emit = [&](U out) {
      ++here.hot.given;
      next(std::move(out));
      loop.worker.at = here.of;
    };
    guarded(policy, here, loop, [&] { run(record, here, emit); });
  }
  void finish(Here here, Loop& loop, auto&& next)
    requires requires(F& f, Collector<U>& emit) { f.finish(emit); }
  {
    FailPolicy whole;
    guarded(whole, here, loop, [&] {
      Collector<U> gathered;
      function.finish(gathered);
      for (U& out : gathered.records()) {
        ++here.hot.given;
        next(std::move(out));
      }
    });
  }

 private:
  template <typename In, typename Emit>
  [[gnu::always_inline]] void run(In& record, Here here, const Emit& emit) {
    note_key(here.slot.context, record);
    const auto& value = std::as_const(payload(record));
    if constexpr (Takes<F, decltype(value), const Emit&>) {
      call(function, here.slot.context, value, emit);
    } else {
      Collector<U> gathered;
      call(function, here.slot.context, value, gathered);
      for (U& out : gathered.records()) emit(std::move(out));
    }
  }
};

template <typename F, typename P = FailPolicy>
struct Sink {
  F function;
  P policy{};
  static constexpr const char* kKind = "sink";
  static constexpr Gives kGives = Gives::one;
  template <typename In>
  using Out = void;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&&) {
    guarded(policy, here, loop, [&] { call_with<P>(function, here.slot.context, record); });
  }
  void finish(Here here, Loop& loop, auto&&)
    requires requires(F& f) { f.finish(); }
  {
    FailPolicy whole;
    guarded(whole, here, loop, [&] { function.finish(); });
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
using Union = PassOn<UnionKind>;
using Pass = PassOn<PassKind>;

/// Finds each record's key, by which it is then sent to a replica.
template <typename F, typename P = FailPolicy>
struct KeyBy {
  F function;
  P policy{};
  static constexpr const char* kKind = "key_by";
  static constexpr Gives kGives = Gives::one;
  template <typename In>
  using Key = std::remove_cvref_t<ResultOf<F, const Payload<In>&>>;
  template <typename In>
  using Out = KeyedRecord<Key<In>, Payload<In>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    std::optional<Key<In>> key;
    if (!guarded(policy, here, loop,
                 [&] { key.emplace(call(function, here.slot.context, std::as_const(payload(record)))); })) {
      return;
    }
    const std::uint64_t hash = KeyHash<Key<In>>()(*key);
    next(Out<In>{.hash = hash, .key = std::move(*key), .value = std::move(payload(record))});
  }
};

/// A replica's state, one value for each key that it has met.
template <typename K, typename V>
using KeyedState = boost::unordered_flat_map<K, V, KeyHash<K>>;

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

/// reduce(init, f): each key's records folded into a value, which comes out when the input ends.
template <typename K, typename V, typename F, typename P = FailPolicy>
struct Fold {
  F function;
  V initial;
  P policy{};
  KeyedState<K, V> state{};
  static constexpr const char* kKind = "reduce";
  static constexpr Gives kGives = Gives::many;
  template <typename In>
  using Out = std::pair<K, V>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&&) {
    guarded(policy, here, loop, [&] {
      note_key(here.slot.context, record);
      V& value = state.try_emplace(record.key, initial).first->second;
      fold_into<P>(function, here.slot.context, value, std::as_const(record.value));
    });
  }
  void finish(Here here, Loop&, auto&& next) {
    for (auto& [key, value] : state) {
      std::pair<K, V> out(key, std::move(value));
      ++here.hot.given;
      next(std::move(out));
    }
    state.clear();
  }
};

/// reduce(f), where f combines two records into one; with Running each record brings its key's value so far,
/// else that comes out when the input ends.
template <bool Running, typename K, typename T, typename F, typename P = FailPolicy>
struct Combine {
  F function;
  P policy{};
  KeyedState<K, T> state{};
  static constexpr const char* kKind = Running ? "running_reduce" : "reduce";
  static constexpr Gives kGives = Running ? Gives::one : Gives::many;
  template <typename In>
  using Out = T;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here here, Loop& loop, auto&& next) {
    std::optional<T> now;
    if (!guarded(policy, here, loop, [&] {
          note_key(here.slot.context, record);
          const auto found = state.find(record.key);
          if (found == state.end()) {
            const auto placed = state.emplace(record.key, std::move(record.value)).first;
            if constexpr (Running) now.emplace(std::as_const(placed->second));
          } else {
            fold_into<P>(function, here.slot.context, found->second, std::as_const(record.value));
            if constexpr (Running) now.emplace(std::as_const(found->second));
          }
        })) {
      return;
    }
    if constexpr (Running) next(std::move(*now));
  }
  void finish(Here here, Loop&, auto&& next)
    requires(!Running)
  {
    for (auto& [key, value] : state) {
      T out(std::move(value));
      ++here.hot.given;
      next(std::move(out));
    }
    state.clear();
  }
};

}  // namespace ebb::flow
