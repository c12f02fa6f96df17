#pragma once

#include <concepts>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/async.h"
#include "ebb/flow/runtime/stage.h"

/// How streams become stages: where a chain begins, the operators that it carries in its type, and what is
/// made of both when it ends or is cut.
namespace ebb::flow {

/// Where a chain begins that is fed by other stages: over rings from several, or on the thread of one.
template <typename T>
struct FromRings {
  std::vector<From> from;
  bool in_turn = false;  // strictly one record from each replica
};
template <typename T>
struct FromNode {
  std::shared_ptr<Node<T>> node;
};
template <typename F, typename P = FailPolicy>
struct FromSource {
  F function;
  P policy{};
  Operator* op = nullptr;
};

template <typename Begin>
inline constexpr bool kBeginsAtRings = false;
template <typename T>
inline constexpr bool kBeginsAtRings<FromRings<T>> = true;
template <typename Begin>
inline constexpr bool kBeginsAtNode = false;
template <typename T>
inline constexpr bool kBeginsAtNode<FromNode<T>> = true;

inline constexpr int kMostReplicas = 1024;

/// Makes the stage of a finished chain, and the edges that feed it.
template <typename T, typename... Ops, typename F, typename P>
Stage* place(Graph& graph, FromSource<F, P> begin, Pack<Ops...> ops, const std::vector<Operator*>& infos,
             int replicas, std::shared_ptr<NodeBase> node) {
  using Spec = SourceSpec<F, P>;
  Operator* op = begin.op;
  auto stage = made<Stage, FusedStage<Spec, T, Ops...>>(Spec{std::move(begin.function), begin.policy, op},
                                                        std::move(ops), infos, std::move(node));
  stage->operators.push_back(op);
  return graph.place(std::move(stage), infos, replicas);
}
template <typename T, typename... Ops, typename In>
Stage* place(Graph& graph, const FromRings<In>& begin, Pack<Ops...> ops, const std::vector<Operator*>& infos,
             int replicas, std::shared_ptr<NodeBase> node) {
  using Made = FusedStage<RingSpec<In>, T, Ops...>;
  auto stage = made<Stage, Made>(RingSpec<In>{}, std::move(ops), infos, std::move(node));
  auto& spec = static_cast<Made&>(*stage).spec();
  spec.in_turn = begin.in_turn;
  Stage* placed = graph.place(std::move(stage), infos, replicas);
  spec.edges = graph.connect(begin.from, placed);
  return placed;
}
template <typename T, typename... Ops, typename In>
Stage* place(Graph& graph, const FromNode<In>& begin, Pack<Ops...> ops, const std::vector<Operator*>& infos,
             int replicas, std::shared_ptr<NodeBase> node) {
  using Made = FusedStage<InlineSpec<In>, T, Ops...>;
  auto stage = made<Stage, Made>(InlineSpec<In>{}, std::move(ops), infos, std::move(node));
  auto& spec = static_cast<Made&>(*stage).spec();
  stage->is_inline = true;
  Stage* placed = graph.place(std::move(stage), infos, replicas);
  spec.edge = graph.connect(*begin.node, placed, Spread::round_robin);
  return placed;
}

template <typename Begin>
struct BeginRecord;
template <typename T>
struct BeginRecord<FromRings<T>> {
  using type = T;
};
template <typename T>
struct BeginRecord<FromNode<T>> {
  using type = T;
};
template <typename F, typename P>
struct BeginRecord<FromSource<F, P>> {
  using type = typename SourceHead<F, P>::Record;
};

/// What goes into the last of these operators, when In goes into the first.
template <typename In, typename Op, typename... Ops>
struct IntoLast {
  using type = typename IntoLast<typename Op::template Out<In>, Ops...>::type;
};
template <typename In, typename Op>
struct IntoLast<In, Op> {
  using type = In;
};

/// What follows runs on other threads, to which records are spread.
template <typename... Ops>
inline constexpr bool kEndsAtBoundary = false;
template <typename Op>
inline constexpr bool kEndsAtBoundary<Op> = requires { Op::kBoundary; };
template <typename Op, typename... Ops>
  requires(sizeof...(Ops) > 0)
inline constexpr bool kEndsAtBoundary<Op, Ops...> = kEndsAtBoundary<Ops...>;
/// How records are spread over replicas unless something else is said: those with a key by it.
template <typename T>
inline constexpr Spread kSpread = kIsKeyed<T> ? Spread::by_hash : Spread::round_robin;
/// The longest chain that is one type; a longer one is cut, on the same thread.
inline constexpr std::size_t kMostOps = 16;

template <typename F, typename P>
MapInTurn<F, P> in_turn(Map<F, P> op) {
  return {std::move(op.function), op.policy};
}
template <typename Begin, typename... Ops>
inline constexpr bool kIsMapBehindRings = false;
template <typename T, typename F, typename P>
inline constexpr bool kIsMapBehindRings<FromRings<T>, Map<F, P>> = true;
/// Operators that call functions, whose policy is a part of their type.
template <typename Op, typename P>
concept HasPolicy = requires(Op op, P policy) { std::move(op).with(policy); };
/// A policy that needs more than a type: where its records go.
template <typename P>
inline constexpr bool kIsDeadLetter = false;
template <typename T>
inline constexpr bool kIsDeadLetter<DeadLetterPolicy<T>> = true;
template <typename P, typename T>
inline constexpr bool kFits = !kIsDeadLetter<P> || std::same_as<P, DeadLetterPolicy<T>>;

template <bool Parallel, typename Begin, typename T, typename... Ops>
class Chain;
template <bool Parallel, typename Begin, typename... Ops>
class Ending;
/// What a chain is whose last operator gives U.
template <bool Parallel, typename Begin, typename U, typename... Ops>
struct ChainTo {
  using type = Chain<Parallel, Begin, U, Ops...>;
};
template <bool Parallel, typename Begin, typename... Ops>
struct ChainTo<Parallel, Begin, void, Ops...> {
  using type = Ending<Parallel, Begin, Ops...>;
};

/// A chain that is being built: its beginning, its operators, and in how many replicas it will run. What is
/// built on it takes its parts away.
template <bool Parallel, typename Begin, typename T, typename... Ops>
class Building {
 public:
  static constexpr std::size_t kOps = sizeof...(Ops);
  template <typename U, typename... More>
  using To = typename ChainTo<Parallel, Begin, U, Ops..., More...>::type;
  struct Parts {
    Begin begin;
    Pack<Ops...> ops;
    std::vector<Operator*> infos;
  };

  Building(Graph& graph, Parts parts, int replicas)
      : graph_(&graph), parts_(std::move(parts)), replicas_(replicas) {}
  Building(Building&& other) noexcept
      : graph_(other.graph_),
        used_(other.used_),
        last_(other.use()),
        parts_(std::move(other.parts_)),
        replicas_(other.replicas_) {}
  Building& operator=(Building&&) = delete;
  Building(const Building&) = delete;
  Building& operator=(const Building&) = delete;
  ~Building() = default;

  [[nodiscard]] Graph& graph() const noexcept { return *graph_; }
  [[nodiscard]] int replicas() const noexcept { return replicas_; }
  [[nodiscard]] bool used() const noexcept { return used_; }

  Parts take_parts() {
    if (used_) {
      throw std::logic_error(
          "ebb: the stream behind '" + title_of(*last_) +
          "' was used already; name it as 'ebb::DataStream s = …' to use it several times");
    }
    (void)use();
    return std::move(parts_);
  }

  void set_name(std::string name) {
    if (used_) throw std::logic_error("ebb: name() must follow the operator at once");
    static_assert(kOps > 0 || !kBeginsAtNode<Begin>, "ebb: name() belongs behind a source or an operator");
    last()->name = std::move(name);
  }

  /// What the report calls the last operator, where it is not what its type says.
  void set_kind(const char* kind) { parts_.infos.back()->kind = kind; }

  /// One operator more.
  template <typename Op>
  auto then(Op op) {
    if constexpr (kEndsAtBoundary<Ops...>) {
      return cut(1).append(std::move(op));
    } else if constexpr (kOps == kMostOps) {
      return Chain<Parallel, FromNode<T>, T>(*graph_, {{finish()}, {}, {}}, replicas_).append(std::move(op));
    } else {
      return append(std::move(op));
    }
  }
  /// The same, before the boundary that it ends at.
  template <typename Op>
  auto append(Op op) {
    using U = typename Op::template Out<T>;
    Parts parts = take_parts();
    parts.infos.push_back(graph_->add(Op::kKind));
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return To<U, Op>(*graph_,
                       {std::move(parts.begin),
                        {{std::move(at<I>(parts.ops))}..., {std::move(op)}},
                        std::move(parts.infos)},
                       replicas_);
    }(std::make_index_sequence<kOps>());
  }

  /// Its last operator with another policy.
  template <typename P>
  auto with(P policy) {
    Parts parts = take_parts();
    if constexpr (kOps == 0) {
      static_assert(
          requires { parts.begin.function; }, "ebb: on_error() belongs behind a source or an operator");
      static_assert(!kIsDeadLetter<P>, "ebb: a source that throws has no record: use skip, retry or fail");
      using F = decltype(parts.begin.function);
      static_assert(!(std::same_as<P, RetryPolicy> && requires { F::kGoesOn; }),
                    "ebb: what is wrong in a file stays wrong: on_error(ebb::skip) leaves it out");
      return Chain<Parallel, FromSource<F, P>, T>(
          *graph_, {{std::move(parts.begin.function), policy, parts.begin.op}, {}, {}}, replicas_);
    } else {
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        using In = Payload<typename IntoLast<typename BeginRecord<Begin>::type, Ops...>::type>;
        static_assert(kFits<P, In>,
                      "ebb: dead_letter(bad) needs a stream of the records that go into this operator: "
                      "auto bad = env.dead_letters<T>(name)");
        static_assert(HasPolicy<PackAt<kOps - 1, Ops...>, P>,
                      "ebb: on_error() belongs behind an operator that calls a function of yours");
        if constexpr (kIsDeadLetter<P>) parts.infos.back()->sides.push_back(policy.side);
        auto last = std::move(at<kOps - 1>(parts.ops)).with(policy);
        using Next = typename ChainTo<Parallel, Begin, T, PackAt<I, Ops...>..., decltype(last)>::type;
        return Next(*graph_,
                    {std::move(parts.begin),
                     {{std::move(at<I>(parts.ops))}..., {std::move(last)}},
                     std::move(parts.infos)},
                    replicas_);
      }(std::make_index_sequence<kOps - 1>());
    }
  }

  /// What has been built becomes a stage; what gives its records is the result.
  std::shared_ptr<Node<T>> finish() {
    if constexpr (kEndsAtBoundary<Ops...>) {
      return cut(1).finish();
    } else {
      return finish_here();
    }
  }
  /// The same, before the boundary that it ends at.
  std::shared_ptr<Node<T>> finish_here() {
    if constexpr (kOps == 0 && kBeginsAtNode<Begin>) {
      return take_parts().begin.node;
    } else if constexpr (kOps == 0 && kBeginsAtRings<Begin>) {
      return then(Pass{}).finish();
    } else {
      auto node = std::make_shared<Node<T>>();
      Parts parts = take_parts();
      node->producer = place<T, Ops...>(*graph_, std::move(parts.begin), std::move(parts.ops), parts.infos,
                                        replicas_, node);
      return node;
    }
  }
  /// A chain that goes on from here on other threads.
  auto cut(int replicas, Spread spread = kSpread<T>) {
    FromRings<T> begin;
    begin.from.push_back({finish_here(), spread});
    return Chain<true, FromRings<T>, T>(*graph_, {std::move(begin), {}, {}}, replicas);
  }
  auto with_replicas(int replicas) {
    check(replicas);
    using Same = typename ChainTo<true, Begin, T, Ops...>::type;
    return Same(*graph_, take_parts(), replicas);
  }
  /// Its last operator on threads of its own, as many as that.
  auto split(int replicas) {
    check(replicas);
    using Last = PackAt<kOps - 1, Ops...>;
    static_assert(std::copy_constructible<Last>,
                  "ebb: parallelism(n) needs a function that can be copied, for each replica gets its own");
    if constexpr (kEndsAtBoundary<Ops...>) {
      return cut(replicas);
    } else if constexpr (kOps == 1 && kBeginsAtRings<Begin>) {
      return with_replicas(replicas);  // it stands behind a boundary already
    } else {
      Parts parts = take_parts();
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        using In = typename IntoLast<typename BeginRecord<Begin>::type, Ops...>::type;
        Building<Parallel, Begin, In, PackAt<I, Ops...>...> before(
            *graph_, {std::move(parts.begin), {{std::move(at<I>(parts.ops))}...}, {parts.infos[I]...}},
            replicas_);
        using Next = typename ChainTo<true, FromRings<In>, T, Last>::type;
        return Next(*graph_,
                    {before.cut(replicas).take_parts().begin,
                     {{std::move(at<kOps - 1>(parts.ops))}},
                     {parts.infos.back()}},
                    replicas);
      }(std::make_index_sequence<kOps - 1>());
    }
  }

  /// What its only operator, a map in replicas, gives in the order of what went in.
  auto in_order() {
    static_assert(kIsMapBehindRings<Begin, Ops...>,
                  "ebb: ordered() belongs behind a map: .map(f).parallelism(n).ordered()");
    if constexpr (kIsMapBehindRings<Begin, Ops...>) {
      Parts parts = take_parts();
      auto& from = parts.begin.from;
      if (from.size() != 1 || from.front().node->producer->replicas != 1) {
        throw std::logic_error(
            "ebb: ordered() behind '" + title_of(*parts.infos.back()) +
            "' needs one replica of what comes before it: there is no order between several");
      }
      from.front().spread = Spread::in_turn;
      auto op = in_turn(std::move(at<0>(parts.ops)));
      using U = std::optional<T>;
      Building<true, Begin, U, decltype(op)> map(
          *graph_, {std::move(parts.begin), {{std::move(op)}}, parts.infos}, replicas_);
      FromRings<U> begin;
      begin.from.push_back({map.finish(), Spread::round_robin});
      begin.in_turn = true;
      return Chain<false, FromRings<U>, U>(*graph_, {std::move(begin), {}, {}}, 1).then(Ordered{});
    }
  }

 private:
  static void check(int replicas) {
    if (replicas < 1 || replicas > kMostReplicas) {
      throw std::invalid_argument("ebb: parallelism(n) takes 1 to " + std::to_string(kMostReplicas));
    }
  }

  // The operator that gives its records; of key_by() and the like, the stage is there already.
  [[nodiscard]] Operator* last() const noexcept {
    if constexpr (kOps > 0) {
      return parts_.infos.back();
    } else if constexpr (kBeginsAtRings<Begin>) {
      return parts_.begin.from.front().node->producer->operators.back();
    } else if constexpr (kBeginsAtNode<Begin>) {
      return parts_.begin.node->producer->operators.back();
    } else {
      return parts_.begin.op;
    }
  }
  // Its parts are about to be taken.
  const Operator* use() noexcept {
    if (!std::exchange(used_, true)) last_ = last();
    return last_;
  }

  Graph* graph_;
  bool used_ = false;
  const Operator* last_ = nullptr;  // once it is used
  Parts parts_;
  int replicas_;
};

}  // namespace ebb::flow
