#pragma once

#include <concepts>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/feedback_head.h"
#include "ebb/flow/runtime/heads.h"
#include "ebb/flow/runtime/side.h"

/// Stages as a graph holds them before and between runs: what their replicas are made from.
namespace ebb::flow {

// What a head is made from, for each replica.

template <typename F, typename Policy>
struct SourceSpec {
  using Head = SourceHead<F, Policy>;
  F function;
  Policy policy;
  Operator* op;

  Head make(int number, int replicas, Worker& worker) {
    return Head(std::move(function), policy, make_slot(*op, worker, number, replicas), worker);
  }
};

template <typename T>
struct RingSpec {
  using Head = RingHead<T>;
  std::vector<EdgeBase*> edges;
  bool in_turn = false;

  Head make(int number, int, Worker&) { return Head(edges, static_cast<std::size_t>(number), in_turn); }
};

template <typename T>
struct FeedbackSpec {
  using Head = FeedbackHead<T>;
  std::vector<EdgeBase*> edges;

  Head make(int, int, Worker&) { return Head(edges); }
};

template <typename T>
struct InlineSpec {
  using Head = InlineHead<T>;
  EdgeBase* edge = nullptr;

  Head make(int number, int, Worker&) { return Head(*edge, static_cast<std::size_t>(number)); }
};

/// Each replica has its own copy of an operator; one that cannot be copied has one replica.
template <typename Op>
Op own_copy(Op& op, bool last) {
  if constexpr (std::copy_constructible<Op>) {
    if (!last) return Op(std::as_const(op));
  }
  return std::move(op);
}

/// A chain of operators behind a head; T is what comes out, void behind a sink.
template <typename Spec, typename T, typename... Ops>
class FusedStage final : public Stage {
 public:
  FusedStage(Spec spec, Pack<Ops...> ops, std::vector<Operator*> infos, std::shared_ptr<NodeBase> node)
      : spec_(std::move(spec)), ops_(std::move(ops)), infos_(std::move(infos)), node_(std::move(node)) {
    ends = std::is_void_v<T>;
  }

  [[nodiscard]] Spec& spec() noexcept { return spec_; }

  [[nodiscard]] std::unique_ptr<Replica> make(int number, Worker& worker) override {
    const bool last = number + 1 == replicas;
    auto head = spec_.make(number, replicas, worker);
    std::array<Slot*, sizeof...(Ops)> slots{};
    for (std::size_t i = 0; i < infos_.size(); ++i) {
      slots[i] = &make_slot(*infos_[i], worker, number, replicas);
    }
    using Made = FusedReplica<typename Spec::Head, T, Ops...>;
    return made<Replica, Made>(std::move(head), own_copies(last, std::index_sequence_for<Ops...>()), slots,
                               worker, outlet(number, worker));
  }

 private:
  template <std::size_t... I>
  Pack<Ops...> own_copies([[maybe_unused]] bool last, std::index_sequence<I...>) {
    return {{own_copy(at<I>(ops_), last)}...};
  }
  Outlet<T> outlet(int number, Worker& worker) {
    if constexpr (std::is_void_v<T>) {
      return {};
    } else {
      Outlet<T> outlet{.output = Output<T>(worker, static_cast<std::size_t>(number)), .inlined = {}};
      for (EdgeBase* edge : node_->edges) {
        if (!edge->consumer()->is_inline) {
          outlet.output.add(*edge);
          continue;
        }
        auto behind = edge->consumer()->make(number, worker);
        outlet.output.add_inline(*edge, dynamic_cast<Consumer<T>&>(*behind));  // it was built on this node
        outlet.inlined.add(std::move(behind));
      }
      return outlet;
    }
  }

  Spec spec_;
  Pack<Ops...> ops_;
  std::vector<Operator*> infos_;
  std::shared_ptr<NodeBase> node_;
};

/// Where a cycle begins: what feedback edges bring back comes out of it.
template <typename T>
struct FeedbackStage {
  std::shared_ptr<Node<T>> node;
  std::vector<EdgeBase*>* edges;

  static FeedbackStage make(Graph& graph, std::string name) {
    auto node = std::make_shared<Node<T>>();
    Operator* op = graph.add("from_future", std::move(name));
    using Made = FusedStage<FeedbackSpec<T>, T, Pass>;
    auto stage = made<Stage, Made>(FeedbackSpec<T>{}, flow::Pack<Pass>{}, std::vector<Operator*>{op}, node);
    stage->needs_input = true;
    auto& edges = static_cast<Made&>(*stage).spec().edges;
    node->producer = graph.place(std::move(stage), std::vector<Operator*>{op}, 1);
    return {std::move(node), &edges};
  }
  void fill(Graph& graph, Node<T>& from) const {
    edges->push_back(graph.connect(from, node->producer, Spread::round_robin));
    edges->back()->make_feedback();
  }
};

/// A stage that gathers what operators give beside their output; its node, and where they give it.
template <typename U>
std::pair<std::shared_ptr<Node<U>>, SideBase*> side_stream(Graph& graph, const char* kind, std::string name) {
  auto node = std::make_shared<Node<U>>();
  Operator* op = graph.add(kind, name);
  using Made = FusedStage<RingSpec<U>, U, Pass>;
  auto stage = made<Stage, Made>(RingSpec<U>{}, flow::Pack<Pass>{}, std::vector<Operator*>{op}, node);
  auto& edges = static_cast<Made&>(*stage).spec().edges;
  node->producer = graph.place(std::move(stage), std::vector<Operator*>{op}, 1);
  graph.sides.push_back(made<SideBase, Side<U>>(std::move(name), *node->producer, edges));
  return {std::move(node), graph.sides.back().get()};
}

}  // namespace ebb::flow
