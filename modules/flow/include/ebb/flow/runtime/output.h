#pragma once

#include <algorithm>
#include <concepts>
#include <exception>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/edge.h"

namespace ebb::flow {

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
