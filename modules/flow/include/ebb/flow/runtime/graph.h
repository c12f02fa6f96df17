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
#include "ebb/flow/runtime/edge.h"
#include "ebb/flow/runtime/run_state.h"
#include "ebb/flow/runtime/worker.h"

/// The graph that streams build and a run executes, without the types of the records: operators, which a
/// report shows; stages, each a chain of operators that runs as one loop; edges, over which stages hand
/// records on.
namespace ebb::flow {

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
  virtual void connect(Graph& graph, Stage& producer, Operator& from) = 0;
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

/// Its name, or as long as it has none what it is.
[[nodiscard]] std::string title_of(const Operator& op);

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

class ServiceBase;

/// What a stream leads to: shared by the stage that gives its records and by the streams that are built on
/// it.
struct NodeBase {
  Stage* producer = nullptr;
  std::vector<EdgeBase*> edges;
  bool copies = true;  ///< whether its records can be copied
  /// An edge for its records; null behind a sink, which has none.
  std::unique_ptr<EdgeBase> (*make_edge)(Stage* producer, Stage* consumer, Spread spread) = nullptr;
};
template <typename T>
struct Node : NodeBase {
  Node() {
    if constexpr (!std::is_void_v<T>) {
      copies = std::copy_constructible<T>;
      make_edge = [](Stage* from, Stage* to, Spread spread) -> std::unique_ptr<EdgeBase> {
        return made<EdgeBase, Edge<T>>(from, to, spread);
      };
    }
  }
};
/// A stream that leads to a stage, and how its records are spread over that one's replicas.
struct From {
  std::shared_ptr<NodeBase> node;
  Spread spread = Spread::round_robin;
};

/// What an environment builds, and owns all of: stages and edges know each other by plain pointers.
struct Graph {
  std::vector<std::unique_ptr<Operator>> operators;
  std::vector<std::unique_ptr<Stage>> stages;
  std::vector<std::unique_ptr<EdgeBase>> edges;
  std::vector<std::unique_ptr<SideBase>> sides;
  std::vector<std::shared_ptr<ServiceBase>> services;  ///< in the order of registration
  std::vector<std::unique_ptr<Cycle>> cycles;
  /// Stages whose records go two ways but cannot be copied.
  std::vector<const Stage*> used_twice;

  Graph() = default;
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Operator* add(const char* kind, std::string name = {});
  /// `stage` has its head's operator, if any; `rest` are those behind it.
  Stage* place(std::unique_ptr<Stage> stage, std::span<Operator* const> rest, int replicas);
  /// Leads a stream to a stage.
  EdgeBase* connect(NodeBase& node, Stage* consumer, Spread spread);
  std::vector<EdgeBase*> connect(const std::vector<From>& streams, Stage* consumer);
  /// An edge that is an input of its consumer from now on.
  EdgeBase* own(std::unique_ptr<EdgeBase> edge);

  /// Makes the edges to the side streams, once all stages are there.
  void connect_sides();
  /// Finds the cycles that feedback edges close, and tells the edges. Throws std::logic_error where stages
  /// would feed themselves without one.
  void find_cycles();
};

/// A replica's part of an operator: its counts, and its ends of the edges to side streams.
Slot& make_slot(Operator& op, Worker& worker, int number, int replicas);
/// Nothing follows on the edges to side streams.
void close_sides(Slot& slot) noexcept;

}  // namespace ebb::flow
