#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/fused.h"

namespace ebb::flow {

/// Takes what feedback edges bring back.
template <typename T>
class FeedbackHead {
 public:
  using Interface = Replica;

  explicit FeedbackHead(std::vector<EdgeBase*> edges) : edges_(std::move(edges)) {
    for (const EdgeBase* edge : edges_) {
      if (edge->cycle() != nullptr) cycle_ = edge->cycle();
    }
  }

  void open() {}
  template <typename Emit>
  [[gnu::always_inline]] Replica::Step step(std::size_t limit, Loop& loop, Emit&& emit) {
    if (next_ == batch_.size() && !fetch()) return over() ? Replica::Step::ended : Replica::Step::idle;
    const std::size_t end = std::min(batch_.size(), next_ + limit), begin = next_;
    while (next_ < end && !loop.stopped) emit(std::move(batch_[next_++]));
    worked_on_ = next_ - begin;
    from_->backlog().count_taken(worked_on_);
    return Replica::Step::worked;
  }
  void settle() noexcept {
    if (cycle_ != nullptr && worked_on_ != 0) cycle_->leave(std::exchange(worked_on_, 0));
  }
  [[nodiscard]] bool swallows() const noexcept { return true; }
  Replica::Step swallow() {
    if (next_ == batch_.size() && !fetch()) return over() ? Replica::Step::ended : Replica::Step::idle;
    const std::size_t count = batch_.size() - std::exchange(next_, batch_.size());
    from_->backlog().count_taken(count);
    from_->count_swallowed(0, count);
    if (cycle_ != nullptr) cycle_->leave(count);
    return Replica::Step::worked;
  }
  [[nodiscard]] bool ready() const noexcept {
    return next_ < batch_.size() || over() ||
           std::any_of(
               edges_.begin(), edges_.end(), [](const EdgeBase* edge) { return !edge->backlog().empty(); });
  }
  void end(Discard reason) noexcept {
    for (EdgeBase* edge : edges_) edge->abandon(reason);
  }
  static constexpr bool commits() noexcept { return false; }
  void close(bool) noexcept {}

 private:
  bool fetch() {
    next_ = 0;
    batch_.clear();
    for (EdgeBase* edge : edges_) {
      if (edge->backlog().empty()) continue;
      from_ = edge;
      static_cast<Backlog<T>&>(edge->backlog()).take(batch_);
      return true;
    }
    return false;
  }
  // In no cycle it ends as others do, when those who give have ended.
  [[nodiscard]] bool over() const noexcept {
    if (cycle_ != nullptr) return cycle_->over();
    return std::all_of(edges_.begin(), edges_.end(),
                       [](const EdgeBase* edge) { return edge->closed() && edge->backlog().empty(); });
  }

  std::vector<EdgeBase*> edges_;
  Cycle* cycle_ = nullptr;
  EdgeBase* from_ = nullptr;
  std::vector<T> batch_;
  std::size_t next_ = 0, worked_on_ = 0;
};

}  // namespace ebb::flow
