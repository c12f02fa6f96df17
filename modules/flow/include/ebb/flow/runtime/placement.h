#pragma once

#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "ebb/flow/runtime/graph.h"

namespace ebb::flow {

/// Where the replicas of a run's stages are, and what lies between them. A run uses one, from one thread: it
/// connects all edges, starts all replicas, and ends it.
class Placement {
 public:
  Placement() = default;
  virtual ~Placement() = default;
  Placement(const Placement&) = delete;
  Placement& operator=(const Placement&) = delete;

  /// Makes what leads from each of the replicas of the edge's producer to each of its consumer's.
  virtual void connect(EdgeBase& edge, std::span<Worker* const> producers,
                       std::span<Worker* const> consumers) = 0;
  /// Starts a replica: `body` runs it, once, to its end.
  virtual void start(const std::string& name, std::function<void()> body) = 0;
  /// Waits until every body has returned, and gives back what they ran on.
  virtual void end() = 0;
  /// In place of end(): those that do not return keep what they run on.
  virtual void leave_behind() noexcept = 0;
};

/// On threads of this process, with rings between them.
class InProcess final : public Placement {
 public:
  void connect(EdgeBase& edge, std::span<Worker* const> producers,
               std::span<Worker* const> consumers) override;
  void start(const std::string& name, std::function<void()> body) override;
  void end() override;
  void leave_behind() noexcept override;

 private:
  std::vector<std::thread> threads_;
};

}  // namespace ebb::flow
