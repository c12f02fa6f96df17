#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ebb/flow/context.h"
#include "ebb/flow/runtime/cycle.h"
#include "ebb/flow/runtime/run_state.h"
#include "ebb/flow/runtime/worker.h"

/// The graph that streams build and a run executes, without the types of the records: operators, which a
/// report shows; stages, each a chain of operators that runs as one loop; edges, over which stages hand
/// records on.
namespace ebb::flow {

class Stage;
class EdgeBase;
class SideEnd;
struct Graph;

/// A stream that operators feed beside their output; see side.h.
class SideBase {
 public:
  explicit SideBase(std::string name) : name_(std::move(name)) {}
  virtual ~SideBase() = default;
  SideBase(const SideBase&) = delete;
  SideBase& operator=(const SideBase&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Makes the edge from an operator of a stage.
  virtual EdgeBase& connect(Graph& graph, Stage& producer, Operator& from) = 0;
  /// A replica's end of such an edge.
  [[nodiscard]] virtual std::unique_ptr<SideEnd> end(EdgeBase& edge, Worker& worker,
                                                     std::size_t replica) const = 0;

 private:
  std::string name_;
};

/// One replica of an operator: its counts, and what its function is told.
struct Slot {
  Slot(Worker& worker, const Operator& op, int replica, int replicas)
      : of(&op), context(worker, op, replica, replicas) {
    worker.enlist(counts);
  }

  const Operator* of;
  Context context;
  Counts counts;
};

/// One operator of the graph, in all its replicas. Its slots are there from the start of a run on, and live
/// as long as the graph, so that a report can be made at any time.
struct Operator {
  std::string name;
  const char* kind = "";
  std::vector<std::unique_ptr<Slot>> slots;
  std::vector<SideBase*> sides;  ///< the side streams that it feeds
  std::vector<EdgeBase*> taps;   ///< the edges to them
  Cycle* cycle = nullptr;        ///< that its stage is in
};

/// The connection between two stages. Between P producing and C consuming replicas lie P × C rings.
class EdgeBase {
 public:
  EdgeBase(Stage* producer, Stage* consumer) : producer_(producer), consumer_(consumer) {}
  virtual ~EdgeBase() = default;
  EdgeBase(const EdgeBase&) = delete;
  EdgeBase& operator=(const EdgeBase&) = delete;

  [[nodiscard]] Stage* producer() const noexcept { return producer_; }
  [[nodiscard]] Stage* consumer() const noexcept { return consumer_; }
  /// The operator whose records it carries: the producer's last one, unless it is a tap.
  [[nodiscard]] const Operator& from() const noexcept;
  /// It leads from an operator to a side stream.
  void tap(const Operator& from, const SideBase& side) noexcept {
    from_ = &from;
    side_ = &side;
  }
  [[nodiscard]] const SideBase* side() const noexcept { return side_; }

  /// It closes a cycle: without an end to what may wait on it.
  void make_feedback() noexcept { feedback_ = true; }
  [[nodiscard]] bool is_feedback() const noexcept { return feedback_; }
  /// The cycle that both its ends belong to, or only its consumer; null where there is none.
  Cycle* within = nullptr;
  Cycle* into = nullptr;
  /// How many may still bring something into the cycle that it leads into; once it is connected.
  [[nodiscard]] virtual std::uint64_t ways_in() const noexcept = 0;

  /// Makes the rings; both sides' workers are there, one for each replica.
  virtual void connect(std::span<Worker* const> producers, std::span<Worker* const> consumers) = 0;

  /// What producers put in or, where nobody takes it any more, dropped; and what consumers took.
  struct Traffic {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::array<std::uint64_t, kDiscards> discarded{};
    std::uint64_t most = 0;      ///< records that waited in one ring, at most
    std::uint64_t capacity = 0;  ///< of one ring; 0 where there is none
  };
  [[nodiscard]] virtual Traffic traffic() const = 0;

 private:
  Stage* producer_;
  Stage* consumer_;
  bool feedback_ = false;
  const Operator* from_ = nullptr;
  const SideBase* side_ = nullptr;
};

/// What one thread runs of a stage. All calls come from its worker's thread, in the order of this list.
class Replica {
 public:
  virtual ~Replica() = default;

  /// Calls the open() of the functions. Throws what they throw; the operator is in Worker::at.
  virtual void open() = 0;

  enum class Step {
    worked,  ///< something was done: call again
    idle,    ///< there is nothing to do until ready()
    lull,    ///< the same, after much has come: more may follow at once
    ended,   ///< the input has ended, or nobody takes what comes out
  };
  /// Processes up to `limit` records.
  virtual Step step(std::size_t limit) = 0;
  [[nodiscard]] virtual bool ready() const = 0;

  /// The input has ended: lets operators emit what they hold, from the head to the tail.
  virtual void finish() = 0;
  /// Tells the consumers that nothing follows, and the producers that nothing is taken; what was not taken is
  /// counted as discarded for this reason.
  virtual void end(Discard reason) noexcept = 0;
  /// A function of it wants to hear how the whole pipeline has ended, by commit() or abort().
  [[nodiscard]] virtual bool commits() const noexcept = 0;
  /// Calls commit() of the operators' functions where the whole pipeline has ended well, else abort(), and
  /// close(); what one throws is a failure of the run.
  virtual void close(bool success) noexcept = 0;
  /// The same of the source, if this is one; when all operators have committed.
  virtual void close_source(bool success) noexcept = 0;
};

/// A chain of operators that runs as one loop, in one or more replicas.
class Stage {
 public:
  virtual ~Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  /// Makes the replica numbered `number` for this thread; each has its own copy of the functions.
  [[nodiscard]] virtual std::unique_ptr<Replica> make(int number, Worker& worker) = 0;

  int replicas = 1;
  std::vector<Operator*> operators;  ///< from the head to the tail
  std::vector<EdgeBase*> inputs, outputs;
  /// Runs on the threads of the stage that feeds it, without a ring.
  bool is_inline = false;
  /// Nothing comes out of it: it ends in a sink.
  bool ends = false;
  /// It is fed by feedback edges, of which there must be one.
  bool needs_input = false;

 protected:
  Stage() = default;
};

template <typename T>
class Edge;
template <typename T>
struct Node;
enum class Spread : std::uint8_t;
class ServiceBase;

/// What an environment builds, and owns all of: stages and edges know each other by plain pointers.
struct Graph {
  std::vector<std::unique_ptr<Operator>> operators;
  std::vector<std::unique_ptr<Stage>> stages;
  std::vector<std::unique_ptr<EdgeBase>> edges;
  std::vector<std::unique_ptr<SideBase>> sides;
  std::vector<std::shared_ptr<ServiceBase>> services;  ///< in the order of registration

  Operator* add(const char* kind) {
    operators.push_back(std::make_unique<Operator>());
    operators.back()->kind = kind;
    return operators.back().get();
  }
  std::vector<std::unique_ptr<Cycle>> cycles;
  /// Stages whose records go two ways but cannot be copied.
  std::vector<const Stage*> used_twice;

  /// Makes the edges to the side streams, once all stages are there.
  void connect_sides();
  /// Finds the cycles that feedback edges close, and tells the edges. Throws std::logic_error where stages
  /// would feed themselves without one.
  void find_cycles();
  /// `stage` has its head's operator, if any; `rest` are those behind it.
  Stage* place(std::unique_ptr<Stage> stage, std::span<Operator* const> rest, int replicas) {
    stage->operators.insert(stage->operators.end(), rest.begin(), rest.end());
    stage->replicas = replicas;
    stages.push_back(std::move(stage));
    return stages.back().get();
  }
  template <typename T>
  Edge<T>* connect(Node<T>& node, Stage* consumer, Spread spread) {
    if (!std::copy_constructible<T> && !node.edges.empty()) used_twice.push_back(node.producer);
    auto edge = std::make_unique<Edge<T>>(node.producer, consumer, spread);
    Edge<T>* made = edge.get();
    node.edges.push_back(made);
    node.producer->outputs.push_back(made);
    consumer->inputs.push_back(made);
    edges.push_back(std::move(edge));
    return made;
  }
};

inline const Operator& EdgeBase::from() const noexcept {
  return from_ != nullptr ? *from_ : *producer_->operators.back();
}

/// A replica's part of an operator: its counts, and its ends of the edges to side streams.
Slot& make_slot(Operator& op, Worker& worker, int number, int replicas);
/// Nothing follows on the edges to side streams.
void close_sides(Slot& slot) noexcept;

}  // namespace ebb::flow
