#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <variant>

#include "ebb/flow/key.h"
#include "ebb/flow/runtime/operators.h"
#include "ebb/flow/runtime/own_hooks.h"

/// Two streams of different types that go through the same operator: each record is one of the two.
namespace ebb::flow {

template <typename A, typename B>
using Either = std::variant<A, B>;

/// What connect() makes of a record of either side; of one with a key it keeps that.
template <typename T, typename E>
struct AsEither {
  using type = E;
};
template <typename K, typename V, typename E>
struct AsEither<KeyedRecord<K, V>, E> {
  using type = KeyedRecord<K, E>;
};

/// The last operator of each of two streams that are connected.
template <std::size_t I, typename E>
struct IntoEither {
  struct None {};
  None function{};
  static constexpr const char* kKind = I == 0 ? "first" : "second";
  static constexpr Gives kGives = Gives::one;
  static constexpr bool kFinishes = false;
  template <typename In>
  using Out = typename AsEither<In, E>::type;

  template <typename In>
  [[gnu::always_inline]] void apply(In&& record, Here, Loop&, auto&& next) {
    E either(std::in_place_index<I>, std::move(payload(record)));
    if constexpr (kIsKeyed<std::remove_cvref_t<In>>) {
      next(Out<std::remove_cvref_t<In>>{
          .hash = record.hash, .key = std::move(record.key), .value = std::move(either)});
    } else {
      next(std::move(either));
    }
  }
};

/// A function for each of the two types, or one for both (G is void), with their own hooks.
template <typename F, typename G>
struct OnEither {
  F first;
  G second;
  using Other = G;
  [[nodiscard]] G& other() noexcept { return second; }
  void each(auto&& action) {
    action(first);
    action(second);
  }
};
template <typename F>
struct OnEither<F, void> {
  F first;
  using Other = F;
  [[nodiscard]] F& other() noexcept { return first; }
  void each(auto&& action) { action(first); }
};
template <typename F, typename G>
struct WithHooks : OnEither<F, G> {
  void open(Context& context) {
    this->each([&](auto& function) { open_function(function, context); });
  }
  void commit()
    requires(kCommits<F> || kCommits<typename OnEither<F, G>::Other>)
  {
    this->each([](auto& function) {
      if constexpr (requires { function.commit(); }) function.commit();
    });
  }
  void abort()
    requires(kCommits<F> || kCommits<typename OnEither<F, G>::Other>)
  {
    this->each([](auto& function) {
      if constexpr (requires { function.abort(); }) function.abort();
    });
  }
  void close() {
    this->each([](auto& function) {
      if constexpr (requires { function.close(); }) function.close();
    });
  }
};

/// Calls them for the record; what both give must have one type.
template <typename F, typename G>
struct CallEither : WithHooks<F, G> {
  using Other = typename OnEither<F, G>::Other;
  template <typename E>
    requires requires { std::variant_size<std::remove_cvref_t<E>>::value; } &&
             Takes<F, decltype(std::get<0>(std::declval<E>()))> &&
             Takes<Other, decltype(std::get<1>(std::declval<E>()))>
  auto operator()(E&& either, Context& context)
      -> std::common_type_t<ResultOf<F, decltype(std::get<0>(std::declval<E>()))>,
                            ResultOf<Other, decltype(std::get<1>(std::declval<E>()))>> {
    if (either.index() == 0) return call(this->first, context, std::get<0>(std::forward<E>(either)));
    return call(this->other(), context, std::get<1>(std::forward<E>(either)));
  }
};

/// Calls map1() and map2() of a class that has both.
template <typename F>
struct CallCoMap : WithHooks<F, void> {
  template <typename E>
    requires requires { std::variant_size<std::remove_cvref_t<E>>::value; }
  auto operator()(E&& either, Context&) {
    using U = std::common_type_t<decltype(this->first.map1(std::get<0>(std::forward<E>(either)))),
                                 decltype(this->first.map2(std::get<1>(std::forward<E>(either))))>;
    if (either.index() == 0) return U(this->first.map1(std::get<0>(std::forward<E>(either))));
    return U(this->first.map2(std::get<1>(std::forward<E>(either))));
  }
};

/// The same for functions that emit.
template <typename U, typename F, typename G>
struct ExpandEither : WithHooks<F, G> {
  template <typename A, typename B, typename Emit>
  void operator()(const Either<A, B>& either, Emit& emit, Context& context) {
    if (either.index() == 0) return expand<U>(this->first, context, emit, std::get<0>(either));
    expand<U>(this->other(), context, emit, std::get<1>(either));
  }
};

}  // namespace ebb::flow
