#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/backlog.h"
#include "ebb/flow/runtime/graph.h"
#include "ebb/flow/runtime/ring.h"

namespace ebb::flow {

/// Which of the consuming replicas gets a record.
enum class Spread : std::uint8_t {
  round_robin,  ///< one after the other, those that are full left out
  in_turn,      ///< strictly one after the other
  by_hash,      ///< by the record's `hash`
  broadcast,    ///< all of them
};

template <typename T>
concept Hashed = requires(const T& record) {
  { record.hash } -> std::convertible_to<std::uint64_t>;
};

/// A stage that runs on the thread of the one before it: it is handed records instead of taking them.
template <typename T>
class Consumer : public Replica {
 public:
  /// Moves from the records.
  virtual void consume(std::span<T> records) = 0;
  /// It takes no more records.
  [[nodiscard]] virtual bool done() const noexcept = 0;
};

/// An edge whose records are of type T.
template <typename T>
class Edge final : public EdgeBase {
 public:
  Edge(Stage* producer, Stage* consumer, Spread spread) : EdgeBase(producer, consumer), spread_(spread) {}

  void connect(std::span<Worker* const> producers, std::span<Worker* const> consumers) override {
    producers_ = producers.size();
    consumers_ = consumers.size();
    dropped_ = std::vector<Dropped>(producers_);
    swallowed_ = std::vector<std::atomic<std::uint64_t>>(consumers_);
    if (consumer()->is_inline) return;
    if (is_feedback()) {
      backlog_ = std::make_unique<Backlog<T>>(consumers[0]->parker());
      for (Worker* producer : producers) producer->add_consumer();
      open_.store(producers_);
      return;
    }
    for (Worker* producer : producers) {
      for (Worker* taker : consumers) {
        rings_.push_back(
            std::make_unique<Ring<T>>(Ring<T>::default_capacity(), producer->parker(), taker->parker()));
        if (side() == nullptr) producer->add_consumer();  // nobody ends because a side stream has
        producers_of_.push_back(producer);
      }
    }
  }

  [[nodiscard]] Spread spread() const noexcept { return spread_; }
  /// From this producing replica to this consuming one.
  [[nodiscard]] Ring<T>& ring(std::size_t producer, std::size_t consumer) {
    return *rings_[producer * consumers_ + consumer];
  }
  [[nodiscard]] std::size_t producers() const noexcept { return producers_; }
  [[nodiscard]] std::size_t consumers() const noexcept { return consumers_; }
  /// The consumer takes nothing any more, for this reason.
  void abandon(std::size_t producer, std::size_t consumer, Discard reason) noexcept {
    const std::size_t at = producer * consumers_ + consumer;
    rings_[at]->abandon(reason);
    if (side() == nullptr) producers_of_[at]->lose_consumer();
  }
  void count_dropped(std::size_t producer, Discard reason, std::uint64_t count) noexcept {
    Counts::add(dropped_[producer].by_reason[static_cast<std::size_t>(reason)], count);
  }
  /// Handed to a consumer that runs inline, and taken by it.
  void count_inline(std::size_t producer, std::uint64_t count) noexcept {
    Counts::add(dropped_[producer].taken, count);
  }

  /// Taken only to be dropped, by a stage of a cycle that takes no more.
  void count_swallowed(std::size_t consumer, std::uint64_t count) noexcept {
    Counts::add(swallowed_[consumer], count);
  }

  [[nodiscard]] std::uint64_t ways_in() const noexcept override {
    return is_feedback() ? producers_ : producers_ * consumers_;
  }

  // A feedback edge's.
  [[nodiscard]] Backlog<T>* backlog() const noexcept { return backlog_.get(); }
  void close_producer() noexcept {
    if (open_.fetch_sub(1) == 1) backlog_->wake();
    if (into != nullptr) into->leave(1);
  }
  /// Which counts the records that wait on it.
  [[nodiscard]] Cycle* cycle() const noexcept { return within != nullptr ? within : into; }
  /// No producer will give any more.
  [[nodiscard]] bool closed() const noexcept { return open_.load() == 0; }
  /// What is left in it is discarded for this reason.
  void abandon(Discard reason) noexcept { abandoned_ = reason; }

  [[nodiscard]] Traffic traffic() const override {
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
    for (const auto& ring_of : rings_) {
      const Ring<T>& ring = *ring_of;
      sum.sent += ring.sent();
      sum.received += ring.taken();
      sum.most = std::max(sum.most, ring.most());
      sum.capacity = ring.capacity();
      if (ring.abandoned()) {
        sum.discarded[static_cast<std::size_t>(ring.reason())] += ring.sent() - ring.taken();
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

 private:
  // One cache line for each producing replica.
  struct alignas(kCacheLine) Dropped {
    std::array<std::atomic<std::uint64_t>, kDiscards> by_reason{};
    std::atomic<std::uint64_t> taken{0};
  };

  Spread spread_;
  std::size_t producers_ = 0, consumers_ = 0;
  std::vector<std::unique_ptr<Ring<T>>> rings_;
  std::vector<Worker*> producers_of_;
  std::vector<Dropped> dropped_;
  std::vector<std::atomic<std::uint64_t>> swallowed_;  // by consuming replica
  std::unique_ptr<Backlog<T>> backlog_;
  std::atomic<std::size_t> open_{0};
  std::atomic<std::optional<Discard>> abandoned_{};
};

}  // namespace ebb::flow
