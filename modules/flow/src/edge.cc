#include "ebb/flow/runtime/edge.h"

#include <algorithm>

#include "ebb/flow/runtime/graph.h"

namespace ebb::flow {
namespace {

constexpr std::size_t kMostRing = std::size_t{1} << 20, kMostEdge = std::size_t{4} << 20;  // bytes

}  // namespace

EdgeBase::~EdgeBase() = default;

const Operator& EdgeBase::from() const noexcept {
  return from_ != nullptr ? *from_ : *producer_->operators.back();
}

void EdgeBase::connect(std::span<Worker* const> producers, std::span<Worker* const> consumers) {
  producers_ = producers.size();
  consumers_ = consumers.size();
  dropped_ = std::vector<Dropped>(producers_);
  swallowed_ = std::vector<std::atomic<std::uint64_t>>(consumers_);
  if (consumer_->is_inline) return;
  if (feedback_) {
    backlog_ = make_backlog(consumers[0]->parker());
    for (Worker* producer : producers) producer->add_consumer();
    open_.store(producers_);
    return;
  }
  const std::size_t bytes = std::clamp(kMostEdge / (producers_ * consumers_), kLeastRing, kMostRing);
  for (Worker* producer : producers) {
    for (Worker* taker : consumers) {
      rings_.push_back(make_ring(bytes, producer->parker(), taker->parker()));
      if (side_ == nullptr) producer->add_consumer();  // nobody ends because a side stream has
      producers_of_.push_back(producer);
    }
  }
}

std::uint64_t EdgeBase::ways_in() const noexcept { return feedback_ ? producers_ : producers_ * consumers_; }

void EdgeBase::abandon(std::size_t producer, std::size_t consumer, Discard reason) noexcept {
  const std::size_t at = producer * consumers_ + consumer;
  rings_[at]->abandon(reason);
  if (side_ == nullptr) producers_of_[at]->lose_consumer();
}

void EdgeBase::count_dropped(std::size_t producer, Discard reason, std::uint64_t count) noexcept {
  Counts::add(dropped_[producer].by_reason[static_cast<std::size_t>(reason)], count);
}

void EdgeBase::count_inline(std::size_t producer, std::uint64_t count) noexcept {
  Counts::add(dropped_[producer].taken, count);
}

void EdgeBase::count_swallowed(std::size_t consumer, std::uint64_t count) noexcept {
  Counts::add(swallowed_[consumer], count);
}

void EdgeBase::close_producer() noexcept {
  if (open_.fetch_sub(1) == 1) backlog_->wake();
  if (into != nullptr) into->leave(1);
}

EdgeBase::Traffic EdgeBase::traffic() const {
  Traffic sum;
  if (backlog_) {
    sum.sent = backlog_->sent();
    sum.received = backlog_->taken();
    sum.most = backlog_->most();
    if (const auto reason = abandoned_.load()) {
      sum.discarded[static_cast<std::size_t>(*reason)] += sum.sent - sum.received;
    }
  }
  for (const auto& count : swallowed_) {
    const std::uint64_t swallowed = count.load(std::memory_order_relaxed);
    sum.received -= swallowed;
    sum.discarded[static_cast<std::size_t>(Discard::consumer_ended)] += swallowed;
  }
  for (const auto& ring : rings_) {
    sum.sent += ring->sent();
    sum.received += ring->taken();
    sum.most = std::max(sum.most, ring->most());
    sum.capacity = ring->capacity();
    if (ring->abandoned()) {
      sum.discarded[static_cast<std::size_t>(ring->reason())] += ring->sent() - ring->taken();
    }
  }
  for (const Dropped& dropped : dropped_) {
    for (std::size_t reason = 0; reason < kDiscards; ++reason) {
      const std::uint64_t count = dropped.by_reason[reason].load(std::memory_order_relaxed);
      sum.sent += count;
      sum.discarded[reason] += count;
    }
    const std::uint64_t taken = dropped.taken.load(std::memory_order_relaxed);
    sum.sent += taken;
    sum.received += taken;
  }
  return sum;
}

}  // namespace ebb::flow
