#pragma once

#include <memory>
#include <string>
#include <typeinfo>
#include <utility>

#include "ebb/flow/runtime/output.h"

/// Side streams: records that operators give beside their output, from within their functions or of their
/// failures. Any number of operators may feed one; a stage of its own gathers them.
namespace ebb::flow {

/// One replica's end of the edge from an operator to a side stream, without the type of its records.
class SideEnd {
 public:
  SideEnd(const SideBase& side, const std::type_info& type) : side_(&side), type_(&type) {}
  virtual ~SideEnd() = default;
  SideEnd(const SideEnd&) = delete;
  SideEnd& operator=(const SideEnd&) = delete;

  [[nodiscard]] const SideBase& side() const noexcept { return *side_; }
  [[nodiscard]] const std::type_info& type() const noexcept { return *type_; }
  /// No record will follow.
  virtual void close() noexcept = 0;

 private:
  const SideBase* side_;
  const std::type_info* type_;
};

template <typename T>
class SideEndOf final : public SideEnd {
 public:
  SideEndOf(const SideBase& side, EdgeBase& edge, Worker& worker, std::size_t replica)
      : SideEnd(side, typeid(T)), output_(worker, replica) {
    output_.add(edge);
  }
  void give(T record) {
    typename Output<T>::Writer none{};
    output_.give(std::move(record), none);
  }
  void close() noexcept override { output_.close(); }

 private:
  Output<T> output_;
};

/// A side stream of records of type T: the stage that gathers them, and where that stage finds its edges.
template <typename T>
class Side final : public SideBase {
 public:
  Side(std::string name, Stage& consumer, std::vector<EdgeBase*>& edges)
      : SideBase(std::move(name)), consumer_(&consumer), edges_(&edges) {}

  void connect(Graph& graph, Stage& producer, Operator& from) override {
    EdgeBase* edge = graph.own(made<EdgeBase, Edge<T>>(&producer, consumer_, Spread::round_robin));
    edge->tap(from, *this);
    from.taps.push_back(edge);
    edges_->push_back(edge);
  }
  std::unique_ptr<SideEnd> end(EdgeBase& edge, Worker& worker, std::size_t replica) const override {
    return made<SideEnd, SideEndOf<T>>(*this, edge, worker, replica);
  }

 private:
  Stage* consumer_;
  std::vector<EdgeBase*>* edges_;
};

template <typename U>
void give_to_side(const Context& context, const std::string& name, U record) {
  for (const auto& end : context.sides) {
    if (end->side().name() == name && end->type() == typeid(U)) {
      return static_cast<SideEndOf<U>&>(*end).give(std::move(record));
    }
  }
  throw std::logic_error("ebb: nothing takes the side output '" + name + "' of '" + context.name() +
                         "' with records of this type: put .side_output<U>(\"" + name +
                         "\") behind the operator");
}
/// To the side stream itself, which the operator feeds.
template <typename U>
void give_to_side(const Context& context, const SideBase& side, U record) {
  for (const auto& end : context.sides) {
    if (&end->side() == &side) return static_cast<SideEndOf<U>&>(*end).give(std::move(record));
  }
}

}  // namespace ebb::flow
