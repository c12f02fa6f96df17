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
#include "ebb/flow/runtime/either.h"
#include "ebb/flow/runtime/signature.h"
#include "ebb/flow/units.h"

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

/// A function of process(): the record, its key's state, and where what comes out goes.
template <typename F, typename T, typename S, typename U>
concept Processor = Takes<F, const T&, Keyed<S>&, const std::function<void(U)>&> ||
                    Takes<F, const T&, Keyed<S>&, Collector<U>&>;

template <typename Chain, typename A, typename B>
class Connected;

/// The stream of what an operator gives beside its output under this name.
template <typename U>
DataStream<U> side_stream_of(Graph& graph, Operator& op, std::string name);

template <typename T>
class FutureStream;

struct JoinOptions {
  std::uint64_t limit = 1_GiB;  ///< bytes that join_all() may keep, on all replicas together
};

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
  /// U need not be said where the function takes an ebb::Collector<U>&, or where it is T.
  template <typename Said = void, typename F>
  auto flat_map(F function) && {
    using U = Deduced<Said, Collector, F, Payload<T>>;
    static_assert(Expander<F, Payload<T>, U>,
                  "ebb: flat_map<U> needs a function void(const T&, auto& emit) or void(const T&, "
                  "ebb::Collector<U>& emit), which calls emit(U) for each record that comes out");
    if constexpr (Expander<F, Payload<T>, U>) return this->then(FlatMap<U, F>{std::move(function)});
  }
  /// A map whose calls are under way while further records are taken: `ebb::Future<U> f(const T&, Context&)`,
  /// such as `c.call_async(service, &S::method, …)` gives, or a plain U(const T&), which is then called on
  /// threads of the pipeline's pool, several at a time. Results come in the order of the records unless
  /// options say otherwise.
  template <typename F>
  auto async_map(F function, AsyncOptions options = {}) && {
    constexpr bool kFits = Mapper<F, const Payload<T>&>;
    static_assert(kFits, "ebb: async_map needs a function ebb::Future<U>(const T&, Context&) or U(const T&)");
    if constexpr (kFits) {
      using Op = AsyncMap<Payload<T>, F>;
      static_assert(Op::kCallsSafely,
                    "ebb: async_map calls a function that gives no ebb::Future on several threads at a time: "
                    "it gets no Context&");
      if (options.in_flight < 1 || options.in_flight > kMostInFlight) {
        throw std::invalid_argument("ebb: in_flight of async_map must be 1 to " +
                                    std::to_string(kMostInFlight));
      }
      if constexpr (kBeginsAtRings<Begin> && Base::kOps == 0) {
        return this->then(Op{std::move(function), options});
      } else {
        return this->cut(1).then(Op{std::move(function), options});
      }
    }
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
      return this->then(Op{std::move(function)});
    }
  }
  /// One record after the other goes to the replicas of what follows, in turn.
  auto round_robin() && {
    static_assert(!kIsKeyed<T>, "ebb: round_robin() would part the records of a key; put it before key_by()");
    return this->cut(1, Spread::in_turn);
  }
  /// Each record goes to every replica of what follows.
  auto broadcast() && {
    static_assert(std::copy_constructible<T>, "ebb: broadcast needs records that can be copied");
    static_assert(!kIsKeyed<T>, "ebb: broadcast() would double the records of a key; put it before key_by()");
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
    begin.from.push_back({share(), kSpread<T>});
    (begin.from.push_back({node_of<T>(others), kSpread<T>}), ...);
    return Chain<true, FromRings<T>, T>(this->graph(), {std::move(begin), {}, {}}, 1).then(Union{});
  }

  /// After key_by(): a function with the state of its record's key, void f(const T&, ebb::Keyed<S>&, emit)
  /// or the same with a Context&. `emit` is `auto&` or `ebb::Collector<U>&`. What comes out is of the type of
  /// what goes in unless `emit` or process<U>(f) says another. S need only be said (process<U, S>(f)) where
  /// the function does not name it; each key begins as a copy of `initial`.
  template <typename SaidU = void, typename SaidS = void, typename F>
  auto process(F function) && {
    using U = Deduced<SaidU, Collector, F, Payload<T>>;
    using S = typename std::conditional_t<std::is_void_v<SaidS>, ArgumentBesideEmit<Keyed, F, Collector<U>>,
                                          std::type_identity<SaidS>>::type;
    static_assert(!std::is_void_v<S>,
                  "ebb: process() cannot see the type of the state: take an ebb::Keyed<S>&, or say "
                  "process<U, S>(f) or process<U>(f, S{})");
    if constexpr (!std::is_void_v<S>) {
      return std::move(*this).template process<SaidU>(std::move(function), S());
    }
  }
  template <typename SaidU = void, typename F, typename S>
  auto process(F function, S initial) && {
    using U = Deduced<SaidU, Collector, F, Payload<T>>;
    static_assert(kIsKeyed<T>, "ebb: process needs a stream with keys; put .key_by(f) before it");
    static_assert(Processor<F, Payload<T>, S, U>,
                  "ebb: process<U> needs a function void(const T&, ebb::Keyed<S>&, auto& emit), which calls "
                  "emit(U) for each record that comes out");
    if constexpr (kIsKeyed<T> && Processor<F, Payload<T>, S, U>) {
      return this->then(Process<decltype(T::key), S, U, F>{std::move(function), std::move(initial)});
    }
  }

  // Two streams.

  /// This stream and another one, of any type, through one operator: see Connected.
  template <typename Other>
  auto connect(Other&& other) && {
    using O = typename std::remove_cvref_t<Other>::Record;
    static_assert(kIsKeyed<T> == kIsKeyed<O>, "ebb: connect needs keys on both streams, or on none");
    using A = Payload<T>;
    using B = Payload<O>;
    using E = Either<A, B>;
    using R = typename AsEither<T, E>::type;
    static_assert(std::same_as<R, typename AsEither<O, E>::type>,
                  "ebb: streams that are connected need keys of the same type");
    FromRings<R> begin;
    begin.from.push_back({this->append(IntoEither<0, E>{}).finish_here(), kSpread<R>});
    begin.from.push_back({std::forward<Other>(other).template into_either<E>(), kSpread<R>});
    using Both = Chain<true, FromRings<R>, R>;
    return Connected<Both, A, B>(Both(this->graph(), {std::move(begin), {}, {}}, 1));
  }
  /// Two finite streams with keys: h(const A&, const B&) of each two records with the same key. All of both
  /// is kept; the pipeline fails where that is more than the limit.
  template <typename Other, typename F>
  auto join_all(Other&& other, JoinOptions options, F function) && {
    using O = typename std::remove_cvref_t<Other>::Record;
    static_assert(kIsKeyed<T> && kIsKeyed<O>,
                  "ebb: join_all needs keys on both streams: a.key_by(f).join_all(b.key_by(g), {}, h)");
    if constexpr (kIsKeyed<T> && kIsKeyed<O>) {
      using A = Payload<T>;
      using B = Payload<O>;
      static_assert(Takes<F, const A&, const B&>,
                    "ebb: join_all needs a function U(const A&, const B&) that gives a value");
      return std::move(*this)
          .connect(std::forward<Other>(other))
          .then("join_all", JoinAll<decltype(T::key), A, B, F>{std::move(function), {options.limit}});
    }
  }
  template <typename Other, typename F>
  auto join_all(Other&& other, F function) && {
    return std::move(*this).join_all(std::forward<Other>(other), JoinOptions(), std::move(function));
  }

  /// The records of type U that the function of the operator before it gives by
  /// `context.side_output(name, record)`; the stream itself goes on too.
  template <typename U>
  auto side_output(std::string name) & {
    share();
    return side_stream_of<U>(this->graph(), *node_->producer->operators.back(), std::move(name));
  }

  // Ends of a stream.

  /// Its records come out of `future`, which env.from_future<T>() gave: a cycle is closed.
  template <typename U>
  void fill_future(const FutureStream<U>& future) && {
    static_assert(std::same_as<U, Payload<T>>,
                  "ebb: fill_future(f) needs a stream of the records of the future, env.from_future<T>()");
    if constexpr (kIsKeyed<T>) {
      this->append(Unkey{}).fill_future(future);
    } else {
      future.stage().fill(this->graph(), *share());
    }
  }
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
  Collected<Payload<T>> collect(CollectOptions options = {}) && {
    Collected<Payload<T>> collected;
    std::move(*this).sink(collected.sink(options)).name("collect");
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

  /// Behind a map in several replicas: what it gives, in the order of what went in. A record that takes long
  /// holds up those that come after it.
  auto ordered() && { return this->in_order(); }

  // A chain that is used by name.

  template <typename F>
  auto map(F function) & {
    return reuse().map(std::move(function));
  }
  template <typename F>
  auto filter(F function) & {
    return reuse().filter(std::move(function));
  }
  template <typename U = void, typename F>
  auto flat_map(F function) & {
    return reuse().template flat_map<U>(std::move(function));
  }
  template <typename Other>
  auto connect(Other&& other) & {
    return reuse().connect(std::forward<Other>(other));
  }
  auto take(std::uint64_t count) & { return reuse().take(count); }
  template <typename F>
  auto async_map(F function, AsyncOptions options = {}) & {
    return reuse().async_map(std::move(function), options);
  }
  template <typename F>
  auto key_by(F function) & {
    return reuse().key_by(std::move(function));
  }
  auto round_robin() & { return reuse().round_robin(); }
  auto broadcast() & { return reuse().broadcast(); }
  template <typename... A>
  auto reduce(A... arguments) & {
    return reuse().reduce(std::move(arguments)...);
  }
  template <typename F>
  auto running_reduce(F function) & {
    return reuse().running_reduce(std::move(function));
  }
  template <typename U = void, typename S = void, typename F>
  auto process(F function) & {
    return reuse().template process<U, S>(std::move(function));
  }
  template <typename U = void, typename F, typename S>
  auto process(F function, S initial) & {
    return reuse().template process<U>(std::move(function), std::move(initial));
  }
  template <typename Other, typename... A>
  auto join_all(Other&& other, A... arguments) & {
    return reuse().join_all(std::forward<Other>(other), std::move(arguments)...);
  }
  template <typename... Others>
  auto union_with(Others&&... others) & {
    return reuse().union_with(std::forward<Others>(others)...);
  }
  template <typename U>
  void fill_future(const FutureStream<U>& future) & {
    reuse().fill_future(future);
  }
  template <typename... A>
  auto sink(A... arguments) & {
    return reuse().sink(std::move(arguments)...);
  }
  auto print() & { return reuse().print(); }
  auto collect(CollectOptions options = {}) & { return reuse().collect(options); }

  // For the library.

  template <typename E>
  auto into_either() && {
    return this->append(IntoEither<1, E>{}).finish_here();
  }
  template <typename E>
  auto into_either() & {
    return reuse().template into_either<E>();
  }
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

}  // namespace ebb
