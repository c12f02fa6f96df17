#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
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

/// Where one replica's records go: to every stage that its stream leads to. One thread.
template <typename T>
class Output {
 public:
  Output(Worker& worker, std::size_t replica)
      : worker_(&worker), replica_(replica), gathers_(worker.is_source() ? 1 : kGathered) {}

  /// All that follows it in the graph; before the first record.
  void add(Edge<T>& edge) {
    Way way{.edge = &edge, .rings = {}, .next = replica_, .behind = nullptr};
    for (std::size_t consumer = 0; consumer < edge.consumers() && !edge.is_feedback(); ++consumer) {
      way.rings.push_back(&edge.ring(replica_, consumer));
    }
    ways_.push_back(std::move(way));
    // Where it takes no more than a push, of which nobody counts what is inside a cycle.
    const bool simple = ways_.size() == 1 && edge.within == nullptr && !edge.is_feedback() &&
                        (ways_[0].rings.size() == 1 || edge.spread() == Spread::by_hash);
    direct_ = simple ? ways_[0].rings : std::vector<Ring<T>*>();
  }
  /// A stage that runs on this thread; not owned.
  void add_inline(Edge<T>& edge, Consumer<T>& consumer) {
    ways_.push_back({.edge = &edge, .rings = {}, .next = 0, .behind = &consumer});
    direct_.clear();
  }

  using Writer = typename Ring<T>::Writer;
  /// The way for a loop whose records all go over one ring; without room where they do not.
  [[nodiscard]] Writer writer() noexcept {
    if (direct_.size() != 1 || direct_[0]->abandoned() || !std::is_nothrow_move_constructible_v<T>) return {};
    return direct_[0]->writer();
  }
  /// `writer`: from writer(), or the one of the record before.
  [[gnu::always_inline]] void give(T&& record, Writer& writer) {
    if constexpr (std::is_nothrow_move_constructible_v<T>) {
      if (writer.has_room()) [[likely]]
        return writer.push(std::move(record));
      if constexpr (Hashed<T>) {
        if (direct_.size() > 1) [[likely]] {
          Ring<T>& ring = *direct_[replica_of(record, direct_.size())];
          if (ring.has_room() && !ring.abandoned()) [[likely]]
            return ring.push(std::move(record));
        }
      }
    }
    writer = hand_on(std::move(record));  // not by reference, lest it must have an address
  }
  /// Hands what was gathered for stages on this thread to them. At the borders of batches.
  void flush() {
    if (gathered_.empty()) return;
    for (std::size_t at = 0; at < ways_.size(); ++at) {
      if (ways_[at].behind != nullptr) hand_on_gathered(ways_[at], is_last_inline(at));
    }
    gathered_.clear();
  }
  /// Nobody takes anything any more.
  [[nodiscard]] bool unwanted() const noexcept {
    return !ways_.empty() && std::all_of(ways_.begin(), ways_.end(), [](const Way& way) {
      if (way.behind != nullptr) return way.behind->done();
      return !way.edge->is_feedback() && all_abandoned(way);
    });
  }
  /// A record that was emitted but goes nowhere.
  void drop(Discard reason) noexcept {
    for (const Way& way : ways_) way.edge->count_dropped(replica_, reason, 1);
  }
  void close() noexcept {
    for (const Way& way : ways_) {
      if (way.edge->is_feedback() && way.behind == nullptr) way.edge->close_producer();
      for (Ring<T>* ring : way.rings) ring->close();
    }
  }

 private:
  struct Way {
    Edge<T>* edge;
    std::vector<Ring<T>*> rings;
    std::size_t next;     // the replica whose turn it is
    Consumer<T>* behind;  // on this thread; then there are no rings
  };
  static constexpr std::size_t kGathered =
      std::clamp<std::size_t>(std::size_t{64} * 1024 / sizeof(T), 1, 1024);

  // By a part of the hash that the tables of states do not use for the place in them.
  static std::size_t replica_of(const T& record, std::size_t replicas) noexcept {
    if constexpr (Hashed<T>) {
      return (record.hash & 0xffffffff) * replicas >> 32;
    } else {
      return 0;  // of one
    }
  }

  [[gnu::noinline]] Writer hand_on(T&& record) {
    hand_to_all(std::move(record));
    return writer();
  }
  void hand_to_all(T&& record) {
    bool gather = false;
    for (std::size_t at = 0; at < ways_.size(); ++at) {
      Way& way = ways_[at];
      if (way.behind != nullptr) {
        gather = true;
      } else {
        try {
          if (at + 1 == ways_.size() && !gather) {
            send(way, std::move(record));  // NOLINT(bugprone-use-after-move): in the last round
          } else if constexpr (std::copy_constructible<T>) {
            send(way, T(std::as_const(record)));
          }
        } catch (...) {  // of the record's own constructors
          way.edge->count_dropped(replica_, Discard::failure, 1);
          worker_->run().fail(way.edge->from().name, std::current_exception());
        }
      }
    }
    if (!gather) return;
    // It was moved above only where nothing gathers it.
    gathered_.push_back(std::move(record));  // NOLINT(bugprone-use-after-move)
    if (gathered_.size() >= gathers_) flush();
  }

  void send(Way& way, T&& record) {
    if (way.edge->is_feedback()) return feed_back(*way.edge, std::move(record));
    if (way.rings.size() == 1) return put(way, 0, std::move(record));
    switch (way.edge->spread()) {
      case Spread::by_hash:
        put(way, replica_of(record, way.rings.size()), std::move(record));
        return;
      case Spread::in_turn:
        way.next = (way.next + 1) % way.rings.size();
        return put(way, way.next, std::move(record));
      case Spread::round_robin:
        return put(way, free_one(way), std::move(record));
      case Spread::broadcast:
        if constexpr (std::copy_constructible<T>) {
          for (std::size_t to = 0; to + 1 < way.rings.size(); ++to) put(way, to, T(std::as_const(record)));
        }
        return put(way, way.rings.size() - 1, std::move(record));
    }
  }
  // The next replica that has room and takes records; where none has, the first that gets it.
  std::size_t free_one(Way& way) {
    const auto find = [&] {
      for (std::size_t tries = 0; tries < way.rings.size(); ++tries) {
        way.next = (way.next + 1) % way.rings.size();
        Ring<T>& ring = *way.rings[way.next];
        if (ring.has_room() && !ring.abandoned()) return true;
      }
      return all_abandoned(way);
    };
    if (find()) return way.next;
    for (Ring<T>* ring : way.rings) ring->hurry();
    worker_->wait(Doing::blocked, &way.edge->consumer()->operators.front()->name, find);
    return way.next;
  }

  void put(Way& way, std::size_t to, T&& record) {
    Ring<T>& ring = *way.rings[to];
    if (!ring.has_room() && !ring.abandoned()) {
      ring.hurry();
      worker_->wait(Doing::blocked, &way.edge->consumer()->operators.front()->name,
                    [&] { return ring.roomy(); });
    }
    if (ring.abandoned()) {
      way.edge->count_dropped(replica_, ring.reason(), 1);
    } else if (!ring.has_room()) {  // the run was halted meanwhile
      way.edge->count_dropped(replica_, worker_->run().discard(), 1);
    } else {
      if (way.edge->within != nullptr) way.edge->within->enter(1);
      ring.push(std::move(record));
    }
  }
  void feed_back(Edge<T>& edge, T&& record) {
    RunState& run = worker_->run();
    Cycle* const cycle = edge.cycle();
    if (cycle != nullptr && cycle->over()) {
      // Only a finish() can, and there is nobody any more who would take it.
      edge.count_dropped(replica_, Discard::consumer_ended, 1);
      return run.fail(edge.from().name,
                      std::make_exception_ptr(
                          std::logic_error("ebb: a finish() gave a record to its own cycle, which is over")));
    }
    if (cycle != nullptr) cycle->enter(1);
    const std::uint64_t bytes = edge.backlog()->push(std::move(record));
    if (bytes <= run.limits().feedback) return;
    run.fail(edge.from().name,
             std::make_exception_ptr(std::length_error(
                 "ebb: more than the feedback_limit of the pipeline waits on the feedback edge behind '" +
                 edge.from().name + "'")));
  }
  [[nodiscard]] static bool all_abandoned(const Way& way) noexcept {
    return std::all_of(way.rings.begin(), way.rings.end(), [](Ring<T>* ring) { return ring->abandoned(); });
  }
  [[nodiscard]] bool is_last_inline(std::size_t at) const {
    return std::none_of(ways_.begin() + static_cast<std::ptrdiff_t>(at) + 1, ways_.end(),
                        [](const Way& way) { return way.behind != nullptr; });
  }
  void hand_on_gathered(Way& way, bool last) {
    if (way.behind->done()) {
      way.edge->count_dropped(replica_, Discard::consumer_ended, gathered_.size());
      return;
    }
    if (last) {
      way.behind->consume(gathered_);
    } else if constexpr (std::copy_constructible<T>) {
      std::vector<T> copy = gathered_;
      way.behind->consume(copy);
    }
  }

  Worker* worker_;
  std::size_t replica_;
  std::vector<Way> ways_;
  // Where every record goes to one of these rings, for which a look at its hash is all that it takes.
  std::vector<Ring<T>*> direct_;
  // Not more than one behind a source, which may wait for its next record with the last one in here.
  std::size_t gathers_;
  std::vector<T> gathered_;
};

/// The end of a chain that nothing follows.
struct NoOutput {
  struct Writer {};
  [[nodiscard]] Writer writer() noexcept { return {}; }
  void flush() {}
  void drop(Discard) noexcept {}
  [[nodiscard]] bool unwanted() const noexcept { return false; }
  void close() noexcept {}
};

}  // namespace ebb::flow
