#pragma once

#include <concepts>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/flow/collected.h"
#include "ebb/flow/runtime/building.h"

namespace ebb {

template <typename T>
class DataStream;

namespace flow {

/// What a function must be for an operator; the operators' messages say it in words.
template <typename F, typename T>
concept Mapper = Takes<F, T> && !std::is_void_v<ResultOf<F, T>>;
template <typename F, typename T>
concept Predicate = Takes<F, const T&> && std::convertible_to<ResultOf<F, const T&>, bool>;
template <typename F, typename T, typename U>
concept Expander = Takes<F, const T&, const std::function<void(U)>&> || Takes<F, const T&, Collector<U>&>;

/// What the records of a stream that is united with others come from.
template <typename T, typename Stream>
std::shared_ptr<Node<T>> node_of(Stream&& stream) {
  static_assert(
      std::same_as<typename std::remove_cvref_t<Stream>::Record, T>,
      "ebb: streams that are united need records of the same type; map() them first, or connect() them");
  return stream.share();
}

/// A stream under construction. Its type carries where it begins and the operators so far, so that they
/// compile to one loop; Parallel says that it may run in several replicas, T is what comes out.
///
/// Each operator takes the chain it is called on, and gives a longer one. A chain that is used by name is
/// *shared* from then on: what was built runs as one stage, and every use goes on from its records.
template <bool Parallel, typename Begin, typename T, typename... Ops>
class [[nodiscard("ebb: a stream that ends in no sink does not run")]] Chain
    : public Building<Parallel, Begin, T, Ops...> {
 public:
  using Record = T;

  using Base = Building<Parallel, Begin, T, Ops...>;
  using Base::Base;

  // Operators.

  template <typename F>
  auto map(F function) && {
    static_assert(Mapper<F, Payload<T>>,
                  "ebb: map needs a function U(T) or U(T, Context&) that gives a value");
    if constexpr (Mapper<F, Payload<T>>) return this->then(Map<F>{std::move(function)});
  }
  template <typename F>
  auto filter(F function) && {
    static_assert(Predicate<F, Payload<T>>,
                  "ebb: filter needs a function bool(const T&) or bool(const T&, Context&)");
    if constexpr (Predicate<F, Payload<T>>) return this->then(Filter<F>{std::move(function)});
  }
  template <typename U = Payload<T>, typename F>
  auto flat_map(F function) && {
    static_assert(Expander<F, Payload<T>, U>,
                  "ebb: flat_map<U> needs a function void(const T&, auto& emit) or void(const T&, "
                  "ebb::Collector<U>& emit), which calls emit(U) for each record that comes out");
    if constexpr (Expander<F, Payload<T>, U>) return this->then(FlatMap<U, F>{std::move(function)});
  }
  /// Lets the first `count` records pass, then takes no more; in one replica.
  auto take(std::uint64_t count) && {
    Take op;
    op.function.left = count;
    if constexpr (Parallel) {
      return this->cut(1).then(op);
    } else {
      return this->then(op);
    }
  }
  /// Records of the same key go to the same replica of what follows.
  template <typename F>
  auto key_by(F function) && {
    static_assert(Mapper<F, const Payload<T>&>,
                  "ebb: key_by needs a function K(const T&) that gives the key");
    if constexpr (Mapper<F, const Payload<T>&>) {
      using Op = KeyBy<F>;
      using Key = typename Op::template Key<T>;
      static_assert(KeyHash<Key>::kKnown,
                    "ebb: this key has no hash: give its type a member std::uint64_t key_hash() const");
      return this->then(Op{std::move(function)}).cut(1, Spread::by_hash);
    }
  }
  /// One record after the other goes to the replicas of what follows, in turn.
  auto round_robin() && { return this->cut(1, Spread::in_turn); }
  /// Each record goes to every replica of what follows.
  auto broadcast() && {
    static_assert(std::copy_constructible<T>, "ebb: broadcast needs records that can be copied");
    return this->cut(1, Spread::broadcast);
  }

  /// After key_by(): each key's records combined by T f(T, const T&), or void f(T&, const T&); comes out as a
  /// T for each key when the input ends.
  template <typename F>
  auto reduce(F function) && {
    static_assert(kIsKeyed<T>, "ebb: reduce needs a stream with keys; put .key_by(f) before it");
    if constexpr (kIsKeyed<T>) {
      return this->then(Combine<false, decltype(T::key), Payload<T>, F>{std::move(function)});
    }
  }
  /// After key_by(): each key's records folded into a value that begins as `initial`, by V f(V, const T&) or
  /// void f(V&, const T&); comes out as std::pair<K, V> when the input ends.
  template <typename V, typename F>
  auto reduce(V initial, F function) && {
    static_assert(kIsKeyed<T>, "ebb: reduce needs a stream with keys; put .key_by(f) before it");
    if constexpr (kIsKeyed<T>) {
      return this->then(Fold<decltype(T::key), V, F>{std::move(function), std::move(initial)});
    }
  }
  /// After key_by(): like reduce(f), but each record brings its key's value so far.
  template <typename F>
  auto running_reduce(F function) && {
    static_assert(kIsKeyed<T>, "ebb: running_reduce needs a stream with keys; put .key_by(f) before it");
    if constexpr (kIsKeyed<T>) {
      return this->then(Combine<true, decltype(T::key), Payload<T>, F>{std::move(function)});
    }
  }
  /// All records of this stream and of the others, in no order between them.
  template <typename... Others>
  auto union_with(Others&&... others) && {
    FromRings<T> begin;
    begin.from.push_back({share(), Spread::round_robin});
    (begin.from.push_back({node_of<T>(others), Spread::round_robin}), ...);
    return Chain<true, FromRings<T>, T>(this->graph(), {std::move(begin), {}, {}}, 1).then(Union{});
  }

  // Ends of a stream.

  template <typename F>
  auto sink(F function) && {
    static_assert(Takes<F, Payload<T>>, "ebb: sink needs a function void(T) or void(T, Context&)");
    if constexpr (Takes<F, Payload<T>>) {
      Sink<F> op{std::move(function)};
      if constexpr (Parallel) {
        return this->cut(1).then(std::move(op));
      } else {
        return this->then(std::move(op));
      }
    }
  }
  template <typename Object, typename Result, typename Argument>
  auto sink(Result (Object::*method)(Argument), Object* object) && {
    return std::move(*this).sink(
        [method, object](Payload<T> record) { (object->*method)(std::move(record)); });
  }
  /// Writes each record as a line to the standard output.
  auto print() && {
    return std::move(*this).sink([](const Payload<T>& record) { std::cout << record << '\n'; });
  }
  /// What has arrived when the pipeline has ended.
  Collected<Payload<T>> collect() && {
    Collected<Payload<T>> collected;
    std::move(*this).sink(collected.sink()).name("collect");
    return collected;
  }

  // Modifiers, of the operator that they follow.

  Chain name(std::string name) && {
    this->set_name(std::move(name));
    return std::move(*this);
  }
  template <typename P>
  auto on_error(P policy) && {
    return this->with(policy);
  }
  /// How many replicas the operator before it runs in, each with its own copy of the function; behind a
  /// boundary (key_by, round_robin, broadcast, union_with) it is those that follow.
  auto parallelism(int replicas) && {
    if constexpr (Base::kOps > 0) {
      return this->split(replicas);
    } else {
      static_assert(
          kBeginsAtRings<Begin>,
          "ebb: a source has one replica; put .parallelism(n) behind the operator that follows it, or "
          "unite several sources by union_with()");
      return this->with_replicas(replicas);
    }
  }

  // A chain that is used by name.

  template <typename F>
  auto map(F function) & {
    return reuse().map(std::move(function));
  }
  template <typename F>
  auto filter(F function) & {
    return reuse().filter(std::move(function));
  }
  template <typename U = Payload<T>, typename F>
  auto flat_map(F function) & {
    return reuse().template flat_map<U>(std::move(function));
  }
  auto take(std::uint64_t count) & { return reuse().take(count); }
  template <typename F>
  auto key_by(F function) & {
    return reuse().key_by(std::move(function));
  }
  template <typename... Others>
  auto union_with(Others&&... others) & {
    return reuse().union_with(std::forward<Others>(others)...);
  }
  template <typename... A>
  auto sink(A... arguments) & {
    return reuse().sink(std::move(arguments)...);
  }
  auto print() & { return reuse().print(); }
  auto collect() & { return reuse().collect(); }

  // For the library.

  /// What its records come from, from now on; it stays usable.
  std::shared_ptr<Node<T>> share() {
    if (!node_) node_ = this->finish();
    return node_;
  }

 private:
  auto reuse() {
    static_assert(
        std::copy_constructible<T>,
        "ebb: a stream that is used by name needs records that can be copied; std::move(s) it for a "
        "single use");
    return Chain<Parallel, FromNode<T>, T>(this->graph(), {{share()}, {}, {}}, this->replicas());
  }

  std::shared_ptr<Node<T>> node_;  // once it is shared
};

/// The sink of a stream: its modifiers may follow, then it becomes a stage.
template <bool Parallel, typename Begin, typename... Ops>
class Ending : public Building<Parallel, Begin, void, Ops...> {
 public:
  using Base = Building<Parallel, Begin, void, Ops...>;
  using Base::Base;
  Ending(Ending&&) noexcept = default;
  Ending& operator=(Ending&&) = delete;
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;
  ~Ending() {
    if (!this->used()) this->finish();
  }

  Ending name(std::string name) && {
    this->set_name(std::move(name));
    return std::move(*this);
  }
  template <typename P>
  auto on_error(P policy) && {
    return this->with(policy);
  }
  auto parallelism(int replicas) && { return this->split(replicas); }
};

}  // namespace flow

/// A stream with a name: to store, to hand to functions, to build on in loops, as often as you like. Copies
/// are the same stream.
template <typename T>
class DataStream {
 public:
  using Record = T;

  template <bool Parallel, typename Begin, typename... Ops>
  DataStream(flow::Chain<Parallel, Begin, T, Ops...>&& chain)
      : graph_(&chain.graph()), replicas_(chain.replicas()), node_(chain.share()) {}

  template <typename F>
  auto map(F function) const {
    return open().map(std::move(function));
  }
  template <typename F>
  auto filter(F function) const {
    return open().filter(std::move(function));
  }
  template <typename U = flow::Payload<T>, typename F>
  auto flat_map(F function) const {
    return open().template flat_map<U>(std::move(function));
  }
  auto take(std::uint64_t count) const { return open().take(count); }
  template <typename F>
  auto key_by(F function) const {
    return open().key_by(std::move(function));
  }
  auto round_robin() const { return open().round_robin(); }
  auto broadcast() const { return open().broadcast(); }
  template <typename... A>
  auto reduce(A... arguments) const {
    return open().reduce(std::move(arguments)...);
  }
  template <typename F>
  auto running_reduce(F function) const {
    return open().running_reduce(std::move(function));
  }
  template <typename... Others>
  auto union_with(Others&&... others) const {
    return open().union_with(std::forward<Others>(others)...);
  }
  template <typename... A>
  auto sink(A... arguments) const {
    return open().sink(std::move(arguments)...);
  }
  auto print() const { return open().print(); }
  auto collect() const { return open().collect(); }

  // For the library.
  [[nodiscard]] std::shared_ptr<flow::Node<T>> share() const { return node_; }

 private:
  auto open() const { return flow::Chain<true, flow::FromNode<T>, T>(*graph_, {{node_}, {}, {}}, replicas_); }

  flow::Graph* graph_;
  int replicas_;
  std::shared_ptr<flow::Node<T>> node_;
};
template <bool Parallel, typename Begin, typename T, typename... Ops>
DataStream(flow::Chain<Parallel, Begin, T, Ops...>&&) -> DataStream<T>;

}  // namespace ebb
