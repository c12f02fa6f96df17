#pragma once

#include <memory>
#include <string>
#include <utility>

#include "ebb/flow/stream.h"

namespace ebb {

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
  template <typename U = void, typename F>
  auto flat_map(F function) const {
    return open().template flat_map<U>(std::move(function));
  }
  auto take(std::uint64_t count) const { return open().take(count); }
  template <typename F>
  auto async_map(F function, AsyncOptions options = {}) const {
    return open().async_map(std::move(function), options);
  }
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
  template <typename U = void, typename S = void, typename F>
  auto process(F function) const {
    return open().template process<U, S>(std::move(function));
  }
  template <typename U = void, typename F, typename S>
  auto process(F function, S initial) const {
    return open().template process<U>(std::move(function), std::move(initial));
  }
  template <typename Other>
  auto connect(Other&& other) const {
    return open().connect(std::forward<Other>(other));
  }
  template <typename Other, typename... A>
  auto join_all(Other&& other, A... arguments) const {
    return open().join_all(std::forward<Other>(other), std::move(arguments)...);
  }
  template <typename U>
  auto side_output(std::string name) const {
    return flow::side_stream_of<U>(*graph_, *node_->producer->operators.back(), std::move(name));
  }
  template <typename... Others>
  auto union_with(Others&&... others) const {
    return open().union_with(std::forward<Others>(others)...);
  }
  template <typename U>
  void fill_future(const flow::FutureStream<U>& future) const {
    open().fill_future(future);
  }
  template <typename... A>
  auto sink(A... arguments) const {
    return open().sink(std::move(arguments)...);
  }
  auto print() const { return open().print(); }
  auto collect(CollectOptions options = {}) const { return open().collect(options); }

  // For the library.
  [[nodiscard]] std::shared_ptr<flow::Node<T>> share() const { return node_; }
  DataStream(flow::Graph& graph, std::shared_ptr<flow::Node<T>> node)
      : graph_(&graph), replicas_(1), node_(std::move(node)) {}
  template <typename E>
  auto into_either() const {
    return open().template into_either<E>();
  }

 private:
  auto open() const { return flow::Chain<true, flow::FromNode<T>, T>(*graph_, {{node_}, {}, {}}, replicas_); }

  flow::Graph* graph_;
  int replicas_;
  std::shared_ptr<flow::Node<T>> node_;
};
template <bool Parallel, typename Begin, typename T, typename... Ops>
DataStream(flow::Chain<Parallel, Begin, T, Ops...>&&) -> DataStream<T>;

/// The records that operators gave up, from env.dead_letters<T>(name).
template <typename T>
class DeadLetters : public DataStream<DeadLetter<T>> {
 public:
  DeadLetters(flow::Graph& graph, std::shared_ptr<flow::Node<DeadLetter<T>>> node, flow::SideBase& side)
      : DataStream<DeadLetter<T>>(graph, std::move(node)), side_(&side) {}
  [[nodiscard]] flow::SideBase& side() const noexcept { return *side_; }

 private:
  flow::SideBase* side_;
};
template <typename T>
[[nodiscard]] DeadLetterPolicy<T> dead_letter(const DeadLetters<T>& stream) {
  return {&stream.side()};
}

namespace flow {

/// The beginning of a cycle, from env.from_future<T>(): a stream of what `.fill_future(it)` brings back.
template <typename T>
class FutureStream : public DataStream<T> {
 public:
  FutureStream(Graph& graph, FeedbackStage<T> stage)
      : DataStream<T>(graph, stage.node), stage_(std::move(stage)) {}
  [[nodiscard]] const FeedbackStage<T>& stage() const noexcept { return stage_; }

 private:
  FeedbackStage<T> stage_;
};

template <typename U>
DataStream<U> side_stream_of(Graph& graph, Operator& op, std::string name) {
  auto [node, side] = side_stream<U>(graph, "side_output", std::move(name));
  op.sides.push_back(side);
  return DataStream<U>(graph, std::move(node));
}

}  // namespace flow

}  // namespace ebb
