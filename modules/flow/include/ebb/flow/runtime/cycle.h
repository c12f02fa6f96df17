#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "ebb/flow/runtime/parker.h"

namespace ebb::flow {

/// A cycle of a graph: stages that lead back to themselves by a feedback edge. It is over when nothing is
/// inside that could still go round: no record on its edges or in its functions, no open call, and no edge
/// from outside that may still bring one.
///
/// Each of those counts as one. Whoever gives a record to an edge of the cycle enters it first; who takes it
/// leaves it when all that came of it has been given on. An edge from outside holds one for each of its rings
/// until that has ended and all its records were worked on. So the count is zero only when nothing can raise
/// it again.
class Cycle {
 public:
  /// Before the run: who is to be woken when it is over.
  void add_head(Parker& parker) { heads_.push_back(&parker); }

  // Any thread.
  void enter(std::uint64_t count) noexcept { inside_.fetch_add(count); }
  void leave(std::uint64_t count) noexcept {
    if (inside_.fetch_sub(count) != count) return;
    for (Parker* head : heads_) head->wake();
  }
  /// Once it holds, it holds for good.
  [[nodiscard]] bool over() const noexcept { return inside_.load() == 0; }

 private:
  std::atomic<std::uint64_t> inside_{0};
  std::vector<Parker*> heads_;
};

}  // namespace ebb::flow
