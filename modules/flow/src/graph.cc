#include "ebb/flow/runtime/graph.h"

#include <algorithm>
#include <map>

#include "ebb/flow/runtime/side.h"

namespace ebb::flow {

std::string title_of(const Operator& op) { return op.name.empty() ? op.kind : op.name; }

Graph::~Graph() = default;

Operator* Graph::add(const char* kind, std::string name) {
  operators.push_back(std::make_unique<Operator>());
  operators.back()->kind = kind;
  operators.back()->name = std::move(name);
  return operators.back().get();
}

Stage* Graph::place(std::unique_ptr<Stage> stage, std::span<Operator* const> rest, int replicas) {
  stage->operators.insert(stage->operators.end(), rest.begin(), rest.end());
  stage->replicas = replicas;
  stages.push_back(std::move(stage));
  return stages.back().get();
}

EdgeBase* Graph::connect(NodeBase& node, Stage* consumer, Spread spread) {
  if (!node.copies && !node.edges.empty()) used_twice.push_back(node.producer);
  node.edges.push_back(own(node.make_edge(node.producer, consumer, spread)));
  node.producer->outputs.push_back(node.edges.back());
  return node.edges.back();
}

std::vector<EdgeBase*> Graph::connect(const std::vector<From>& streams, Stage* consumer) {
  std::vector<EdgeBase*> made;
  made.reserve(streams.size());
  for (const From& stream : streams) made.push_back(connect(*stream.node, consumer, stream.spread));
  return made;
}

EdgeBase* Graph::own(std::unique_ptr<EdgeBase> edge) {
  edges.push_back(std::move(edge));
  edges.back()->consumer()->inputs.push_back(edges.back().get());
  return edges.back().get();
}

void Graph::connect_sides() {
  for (const auto& stage : stages) {
    for (Operator* op : stage->operators) {
      for (SideBase* side : op->sides) side->connect(*this, *stage, *op);
    }
  }
}

namespace {

// The strongly connected parts of the graph of stages, after Tarjan: each stage's number of the part that it
// belongs to, by the order of the stages.
class Parts {
 public:
  Parts(const Graph& graph, bool with_feedback) {
    for (std::size_t at = 0; at < graph.stages.size(); ++at) numbers_[graph.stages[at].get()] = at;
    leads_to_.resize(graph.stages.size());
    for (const auto& edge : graph.edges) {
      if (edge->is_feedback() && !with_feedback) continue;
      leads_to_[number(edge->producer())].push_back(number(edge->consumer()));
    }
    order_.resize(leads_to_.size());
    lowest_.resize(leads_to_.size());
    part_.resize(leads_to_.size());
    for (std::size_t at = 0; at < leads_to_.size(); ++at) {
      if (order_[at] == 0) visit(at);
    }
  }

  [[nodiscard]] std::size_t of(const Stage* stage) const { return part_[number(stage)]; }
  [[nodiscard]] std::size_t count() const noexcept { return parts_; }

 private:
  [[nodiscard]] std::size_t number(const Stage* stage) const { return numbers_.at(stage); }
  // By hand instead of by calls, since a graph may be deeper than a stack.
  void visit(std::size_t root) {
    struct Frame {
      std::size_t at, next;
    };
    std::vector<Frame> frames{{root, 0}};
    while (!frames.empty()) {
      auto& [at, next] = frames.back();
      if (next == 0) {
        order_[at] = lowest_[at] = ++visited_;
        open_.push_back(at);
      }
      if (next < leads_to_[at].size()) {
        const std::size_t to = leads_to_[at][next++];
        if (order_[to] == 0) {
          frames.push_back({to, 0});
        } else if (part_[to] == 0) {
          lowest_[at] = std::min(lowest_[at], order_[to]);
        }
        continue;
      }
      if (lowest_[at] == order_[at]) close(at);
      const std::size_t done = at;
      frames.pop_back();
      if (!frames.empty()) lowest_[frames.back().at] = std::min(lowest_[frames.back().at], lowest_[done]);
    }
  }
  void close(std::size_t first) {
    ++parts_;
    std::size_t at = 0;
    do {
      at = open_.back();
      open_.pop_back();
      part_[at] = parts_;
    } while (at != first);
  }

  std::map<const Stage*, std::size_t> numbers_;
  std::vector<std::vector<std::size_t>> leads_to_;
  std::vector<std::size_t> order_, lowest_, part_;  // 0: not yet
  std::vector<std::size_t> open_;
  std::size_t visited_ = 0, parts_ = 0;
};

}  // namespace

void Graph::find_cycles() {
  const Parts plain(*this, false);
  for (const auto& edge : edges) {
    if (!edge->is_feedback() && plain.of(edge->producer()) == plain.of(edge->consumer())) {
      throw std::logic_error("ebb: '" + edge->consumer()->operators.front()->name +
                             "' would feed itself through '" + edge->from().name +
                             "': only from_future() and fill_future() make a cycle");
    }
  }
  const Parts parts(*this, true);
  std::map<std::size_t, Cycle*> found;
  for (const auto& edge : edges) {
    const std::size_t part = parts.of(edge->consumer());
    if (!edge->is_feedback() || part != parts.of(edge->producer())) continue;
    Cycle*& cycle = found[part];
    if (cycle != nullptr) continue;
    cycles.push_back(std::make_unique<Cycle>());
    cycle = cycles.back().get();
  }
  for (const auto& stage : stages) {
    const auto cycle = found.find(parts.of(stage.get()));
    if (cycle == found.end()) continue;
    for (Operator* op : stage->operators) op->cycle = cycle->second;
  }
  for (const auto& edge : edges) {
    const auto cycle = found.find(parts.of(edge->consumer()));
    if (cycle == found.end()) continue;
    const bool inside = parts.of(edge->producer()) == cycle->first;
    (inside ? edge->within : edge->into) = cycle->second;
  }
}

Slot& make_slot(Operator& op, Worker& worker, int number, int replicas) {
  op.slots.push_back(std::make_unique<Slot>(worker, op, number, replicas));
  Slot& slot = *op.slots.back();
  for (EdgeBase* tap : op.taps) {
    slot.context.sides.push_back(tap->side()->end(*tap, worker, static_cast<std::size_t>(number)));
  }
  return slot;
}

void close_sides(Slot& slot) noexcept {
  for (const auto& end : slot.context.sides) end->close();
}

}  // namespace ebb::flow
