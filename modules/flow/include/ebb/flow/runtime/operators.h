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
/// apply(record, slot, loop, hot, next) hands what comes out to `next`; Out<In> is its type. Where kMany
/// holds, `next` may be called any number of times, and drops what comes after the loop has stopped.
/// finish(slot, loop, hot, next), where there is one, is called when the input has ended.
namespace ebb::flow {

/// The counts that change with every record: local variables of the loop over a batch, hence registers.
struct Hot {
  std::uint64_t in = 0, processed = 0, filtered = 0, emitted = 0;
};

/// Calls the user's function with a record's payload, and tells it the key where there is one.
template <typename Policy, typename F, typename In, typename... More>
decltype(auto) call_with(F& function, Slot& slot, In& record, More&&... more) {
  if constexpr (kIsKeyed<In>) slot.context.set_key(record.key);
  return call(function, slot.context, lend<Policy, F>(payload(record)), std::forward<More>(more)...);
}

template <typename F, typename P = FailPolicy>
struct Map {
  using Function = F;
  using Policy = P;
  F function;
  P policy{};
  static constexpr const char* kKind = "map";
  static constexpr bool kMany = false;
  template <typename In>
  using Out = std::remove_cvref_t<ResultOf<F, Payload<In>>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&& next) {
    ++hot.in;
    std::optional<Out<In>> result;
    if (!guarded(policy, slot, loop, record,
                 [&] { result.emplace(call_with<P, F>(function, slot, record)); })) {
      return;
    }
    ++hot.processed;
    ++hot.emitted;
    next(std::move(*result));
  }
};

template <typename F, typename P = FailPolicy>
struct Filter {
  using Function = F;
  using Policy = P;
  F function;
  P policy{};
  static constexpr const char* kKind = "filter";
  static constexpr bool kMany = false;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&& next) {
    ++hot.in;
    bool passes = false;
    if (!guarded(policy, slot, loop, record, [&] {
          if constexpr (kIsKeyed<In>) slot.context.set_key(record.key);
          passes = static_cast<bool>(call(function, slot.context, std::as_const(payload(record))));
        })) {
      return;
    }
    if (passes) {
      ++hot.processed;
      ++hot.emitted;
      next(std::forward<In>(record));
    } else {
      ++hot.filtered;
    }
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
  using Function = F;
  using Policy = P;
  F function;
  P policy{};
  static constexpr const char* kKind = "flat_map";
  static constexpr bool kMany = true;
  template <typename In>
  using Out = U;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&& next) {
    ++hot.in;
    const auto emit = [&](U out) {
      ++hot.emitted;
      next(std::move(out));
      loop.worker.at = slot.of;
    };
    if (guarded(policy, slot, loop, record, [&] { run(record, slot, emit); })) ++hot.processed;
  }
  void finish(Slot& slot, Loop& loop, Hot& hot, auto&& next)
    requires requires(F& f, Collector<U>& emit) { f.finish(emit); }
  {
    const auto emit = [&](U out) {
      ++hot.emitted;
      next(std::move(out));
    };
    FailPolicy whole;
    guarded(whole, slot, loop, slot, [&] {
      Collector<U> gathered;
      function.finish(gathered);
      for (U& out : gathered.records()) emit(std::move(out));
    });
  }

 private:
  template <typename In, typename Emit>
  [[gnu::always_inline]] void run(In& record, Slot& slot, const Emit& emit) {
    if constexpr (kIsKeyed<In>) slot.context.set_key(record.key);
    const auto& value = std::as_const(payload(record));
    if constexpr (Takes<F, decltype(value), const Emit&>) {
      call(function, slot.context, value, emit);
    } else {
      Collector<U> gathered;
      call(function, slot.context, value, gathered);
      for (U& out : gathered.records()) emit(std::move(out));
    }
  }
};

template <typename F, typename P = FailPolicy>
struct Sink {
  using Function = F;
  using Policy = P;
  F function;
  P policy{};
  static constexpr const char* kKind = "sink";
  static constexpr bool kMany = false;
  template <typename In>
  using Out = void;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&&) {
    ++hot.in;
    if (guarded(policy, slot, loop, record, [&] { call_with<P, F>(function, slot, record); })) {
      ++hot.processed;
      ++hot.emitted;
    }
  }
  void finish(Slot& slot, Loop& loop, Hot&, auto&&)
    requires requires(F& f) { f.finish(); }
  {
    FailPolicy whole;
    guarded(whole, slot, loop, slot, [&] { function.finish(); });
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
  using Function = Limit;
  using Policy = FailPolicy;
  Limit function{};
  static constexpr const char* kKind = "take";
  static constexpr bool kMany = false;
  static constexpr bool kFinishes = true;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop&, Hot& hot, auto&& next) {
    ++hot.in;
    if (--function.left == 0) slot.context.finish();
    ++hot.processed;
    ++hot.emitted;
    next(std::forward<In>(record));
  }
};

/// Hands on what it gets, where several streams meet or one is only to be spread.
template <typename Kind>
struct PassOn {
  struct None {};
  using Function = None;
  using Policy = FailPolicy;
  None function{};
  static constexpr const char* kKind = Kind::kKind;
  static constexpr bool kMany = false;
  static constexpr bool kFinishes = false;
  template <typename In>
  using Out = In;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot&, Loop&, Hot& hot, auto&& next) {
    ++hot.in;
    ++hot.processed;
    ++hot.emitted;
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
  using Function = F;
  using Policy = P;
  F function;
  P policy{};
  static constexpr const char* kKind = "key_by";
  static constexpr bool kMany = false;
  template <typename In>
  using Key = std::remove_cvref_t<ResultOf<F, const Payload<In>&>>;
  template <typename In>
  using Out = KeyedRecord<Key<In>, Payload<In>>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&& next) {
    ++hot.in;
    std::optional<Key<In>> key;
    if (!guarded(policy, slot, loop, record,
                 [&] { key.emplace(call(function, slot.context, std::as_const(payload(record)))); })) {
      return;
    }
    ++hot.processed;
    ++hot.emitted;
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
void fold_into(F& function, Slot& slot, V& value, const T& record) {
  if constexpr (Takes<F, V&, const T&> && !Takes<F, V, const T&>) {
    call(function, slot.context, value, record);
  } else if constexpr (std::same_as<Policy, FailPolicy>) {
    value = call(function, slot.context, std::move(value), record);
  } else {
    value = call(function, slot.context, V(std::as_const(value)), record);
  }
}

/// reduce(init, f): each key's records folded into a value, which comes out when the input ends.
template <typename K, typename V, typename F, typename P = FailPolicy>
struct Fold {
  using Function = F;
  using Policy = P;
  F function;
  V initial;
  P policy{};
  KeyedState<K, V> state{};
  static constexpr const char* kKind = "reduce";
  static constexpr bool kMany = false;
  template <typename In>
  using Out = std::pair<K, V>;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&&) {
    ++hot.in;
    if (guarded(policy, slot, loop, record, [&] {
          slot.context.set_key(record.key);
          V& value = state.try_emplace(record.key, initial).first->second;
          fold_into<P>(function, slot, value, std::as_const(record.value));
        })) {
      ++hot.processed;
    }
  }
  void finish(Slot&, Loop&, Hot& hot, auto&& next) {
    for (auto& [key, value] : state) {
      std::pair<K, V> out(key, std::move(value));
      ++hot.emitted;
      next(std::move(out));
    }
    state.clear();
  }
};

/// reduce(f), where f combines two records into one; with Running each record brings its key's value so far,
/// else that comes out when the input ends.
template <bool Running, typename K, typename T, typename F, typename P = FailPolicy>
struct Combine {
  using Function = F;
  using Policy = P;
  F function;
  P policy{};
  KeyedState<K, T> state{};
  static constexpr const char* kKind = Running ? "running_reduce" : "reduce";
  static constexpr bool kMany = false;
  template <typename In>
  using Out = T;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Slot& slot, Loop& loop, Hot& hot, auto&& next) {
    ++hot.in;
    std::optional<T> now;
    if (!guarded(policy, slot, loop, record, [&] {
          slot.context.set_key(record.key);
          const auto found = state.find(record.key);
          if (found == state.end()) {
            const auto placed = state.emplace(record.key, std::move(record.value)).first;
            if constexpr (Running) now.emplace(std::as_const(placed->second));
          } else {
            fold_into<P>(function, slot, found->second, std::as_const(record.value));
            if constexpr (Running) now.emplace(std::as_const(found->second));
          }
        })) {
      return;
    }
    ++hot.processed;
    if constexpr (Running) {
      ++hot.emitted;
      next(std::move(*now));
    }
  }
  void finish(Slot&, Loop&, Hot& hot, auto&& next)
    requires(!Running)
  {
    for (auto& [key, value] : state) {
      T out(std::move(value));
      ++hot.emitted;
      next(std::move(out));
    }
    state.clear();
  }
};

}  // namespace ebb::flow
