#pragma once

#include <algorithm>
#include <concepts>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/graph.h"

namespace ebb::flow {

/// A replica that runs on the thread of the stage before it: it is handed records instead of taking them.
class InlineReplica : public Replica {
 public:
  /// It takes no more records.
  [[nodiscard]] virtual bool done() const noexcept = 0;
};
template <typename T>
class Consumer : public InlineReplica {
 public:
  /// Moves from the records.
  virtual void consume(std::span<T> records) = 0;
};

/// The replicas that run inline behind one, which calls their hooks after its own.
class InlineReplicas {
 public:
  void add(std::unique_ptr<Replica> replica);

  void open();
  void finish();
  void end(Discard reason) noexcept;
  [[nodiscard]] bool commits() const noexcept;
  void close(bool success) noexcept;

 private:
  std::vector<std::unique_ptr<Replica>> replicas_;
};

/// What an output has of which its records' type does not matter.
class OutputBase {
 public:
  /// Nobody takes anything any more.
  [[nodiscard]] bool unwanted() const noexcept;
  /// A record that was emitted but goes nowhere.
  void drop(Discard reason) noexcept;
  void close() noexcept;

 protected:
  struct Way {
    EdgeBase* edge;
    std::vector<RingBase*> rings;
    std::size_t next;       // the replica whose turn it is
    InlineReplica* behind;  // on this thread; then there are no rings
  };

  OutputBase(Worker& worker, std::size_t replica) : worker_(&worker), replica_(replica) {}

  void add(EdgeBase& edge);
  void add_inline(EdgeBase& edge, InlineReplica& replica);
  [[nodiscard]] static std::size_t by_hash(std::uint64_t hash, std::size_t replicas) noexcept {
    return (hash & 0xffffffff) * replicas >> 32;  // by a part that the tables of states do not use
  }
  /// Which of its rings gets a record with this hash; where all do, the last one.
  [[nodiscard]] std::size_t choose(Way& way, std::uint64_t hash);
  /// Waits until the ring has room. False when the record goes nowhere instead, which is counted.
  [[nodiscard]] bool make_room(Way& way, RingBase& ring);
  /// A record is to go over a feedback edge. False when it goes nowhere instead, which is counted.
  [[nodiscard]] bool enter(EdgeBase& edge);
  /// So much waits on a feedback edge now.
  void check_backlog(const EdgeBase& edge, std::uint64_t bytes);
  /// A constructor of the record has thrown what is being handled.
  void lose(Way& way) noexcept;
  /// Whether the way is the last one to a stage on this thread.
  [[nodiscard]] bool is_last_inline(std::size_t at) const noexcept;

  Worker* worker_;
  std::size_t replica_;
  std::vector<Way> ways_;
  // Where every record goes to one of these rings, for which a look at its hash is all that it takes.
  std::vector<RingBase*> direct_;
};

/// Where one replica's records go: to every stage that its stream leads to. One thread.
template <typename T>
class Output : public OutputBase {
 public:
  Output(Worker& worker, std::size_t replica)
      : OutputBase(worker, replica), gathers_(worker.is_source() ? 1 : kGathered) {}

  /// What follows it in the graph, of this type of records; before the first one.
  using OutputBase::add;
  /// A stage that runs on this thread; not owned.
  void add_inline(EdgeBase& edge, Consumer<T>& consumer) { OutputBase::add_inline(edge, consumer); }

  using Writer = typename Ring<T>::Writer;
  /// The way for a loop whose records all go over one ring; without room where they do not.
  [[nodiscard]] [[gnu::always_inline]] Writer writer() noexcept {
    if (direct_.size() != 1 || direct_[0]->abandoned() || !std::is_nothrow_move_constructible_v<T>) return {};
    return typed(*direct_[0]).writer();
  }
  /// `writer`: from writer(), or the one of the record before.
  [[gnu::always_inline]] void give(T&& record, Writer& writer) {
    if constexpr (std::is_nothrow_move_constructible_v<T>) {
      if (writer.has_room()) [[likely]]
        return writer.push(std::move(record));
      if constexpr (Hashed<T>) {
        if (direct_.size() > 1) [[likely]] {
          RingBase& ring = *direct_[by_hash(record.hash, direct_.size())];
          if (ring.has_room() && !ring.abandoned()) [[likely]]
            return typed(ring).push(std::move(record));
        }
      }
    }
    // Neither the writer nor a small record by reference, lest it must be in memory for the ways above too.
    if constexpr (std::is_trivially_copyable_v<T> && sizeof(T) <= 64) {
      T copy(std::move(record));
      hand_on(std::move(copy));
    } else {
      hand_on(std::move(record));
    }
    writer = this->writer();
  }
  /// Hands what was gathered for stages on this thread to them. At the borders of batches.
  void flush() {
    if (gathered_.empty()) return;
    for (std::size_t at = 0; at < ways_.size(); ++at) {
      if (ways_[at].behind != nullptr) hand_on_gathered(ways_[at], is_last_inline(at));
    }
    gathered_.clear();
  }

 private:
  static constexpr std::size_t kGathered =
      std::clamp<std::size_t>(std::size_t{64} * 1024 / sizeof(T), 1, 1024);

  [[nodiscard]] static Ring<T>& typed(RingBase& ring) noexcept { return static_cast<Ring<T>&>(ring); }

  [[gnu::noinline]] void hand_on(T&& record) {
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
        } catch (...) {
          lose(way);
        }
      }
    }
    if (!gather) return;
    // It was moved above only where nothing gathers it.
    gathered_.push_back(std::move(record));  // NOLINT(bugprone-use-after-move)
    if (gathered_.size() >= gathers_) flush();
  }
  void send(Way& way, T&& record) {
    if (way.edge->is_feedback()) {
      if (!enter(*way.edge)) return;
      return check_backlog(*way.edge, static_cast<Backlog<T>&>(way.edge->backlog()).push(std::move(record)));
    }
    if constexpr (std::copy_constructible<T>) {
      if (way.edge->spread() == Spread::broadcast) {
        for (std::size_t to = 0; to + 1 < way.rings.size(); ++to) put(way, to, T(std::as_const(record)));
      }
    }
    if constexpr (Hashed<T>) {
      put(way, choose(way, record.hash), std::move(record));
    } else {
      put(way, choose(way, 0), std::move(record));
    }
  }
  void put(Way& way, std::size_t to, T&& record) {
    if (make_room(way, *way.rings[to])) typed(*way.rings[to]).push(std::move(record));
  }
  void hand_on_gathered(Way& way, bool last) {
    if (way.behind->done()) {
      way.edge->count_dropped(replica_, Discard::consumer_ended, gathered_.size());
      return;
    }
    auto& consumer = static_cast<Consumer<T>&>(*way.behind);
    if (last) {
      consumer.consume(gathered_);
    } else if constexpr (std::copy_constructible<T>) {
      std::vector<T> copy = gathered_;
      consumer.consume(copy);
    }
  }

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
