#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ebb/flow/runtime/backlog.h"
#include "ebb/flow/runtime/cycle.h"
#include "ebb/flow/runtime/made.h"
#include "ebb/flow/runtime/ring.h"

namespace ebb::flow {

class SideBase;
class Stage;
class Worker;
struct Operator;

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

/// The connection between two stages. Between P producing and C consuming replicas lie P × C rings; on a
/// feedback edge one backlog; and nothing before a stage that runs inline.
class EdgeBase {
 public:
  EdgeBase(Stage* producer, Stage* consumer, Spread spread)
      : producer_(producer), consumer_(consumer), spread_(spread) {}
  virtual ~EdgeBase();
  EdgeBase(const EdgeBase&) = delete;
  EdgeBase& operator=(const EdgeBase&) = delete;

  [[nodiscard]] Stage* producer() const noexcept { return producer_; }
  [[nodiscard]] Stage* consumer() const noexcept { return consumer_; }
  [[nodiscard]] Spread spread() const noexcept { return spread_; }
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

  /// Makes what lies between; both sides' workers are there, one for each replica.
  void connect(std::span<Worker* const> producers, std::span<Worker* const> consumers);

  // From here on it is connected.

  [[nodiscard]] std::size_t producers() const noexcept { return producers_; }
  [[nodiscard]] std::size_t consumers() const noexcept { return consumers_; }
  /// How many may still bring something into the cycle that it leads into.
  [[nodiscard]] std::uint64_t ways_in() const noexcept;
  /// From this producing replica to this consuming one.
  [[nodiscard]] RingBase& ring(std::size_t producer, std::size_t consumer) const noexcept {
    return *rings_[producer * consumers_ + consumer];
  }
  /// The consumer takes nothing any more, for this reason.
  void abandon(std::size_t producer, std::size_t consumer, Discard reason) noexcept;
  void count_dropped(std::size_t producer, Discard reason, std::uint64_t count) noexcept;
  /// Handed to a consumer that runs inline, and taken by it.
  void count_inline(std::size_t producer, std::uint64_t count) noexcept;
  /// Taken only to be dropped, by a stage of a cycle that takes no more.
  void count_swallowed(std::size_t consumer, std::uint64_t count) noexcept;

  // A feedback edge's.

  [[nodiscard]] BacklogBase& backlog() const noexcept { return *backlog_; }
  void close_producer() noexcept;
  /// Which counts the records that wait on it.
  [[nodiscard]] Cycle* cycle() const noexcept { return within != nullptr ? within : into; }
  /// No producer will give any more.
  [[nodiscard]] bool closed() const noexcept { return open_.load() == 0; }
  /// What is left in it is discarded for this reason.
  void abandon(Discard reason) noexcept { abandoned_ = reason; }

  /// What producers put in or, where nobody takes it any more, dropped; and what consumers took.
  struct Traffic {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::array<std::uint64_t, kDiscards> discarded{};
    std::uint64_t most = 0;      ///< records that waited in one ring, at most
    std::uint64_t capacity = 0;  ///< of one ring; 0 where there is none
  };
  /// Any thread.
  [[nodiscard]] Traffic traffic() const;

 protected:
  static constexpr std::size_t kLeastRing = std::size_t{64} << 10;  // bytes

 private:
  // One cache line for each producing replica.
  struct alignas(kCacheLine) Dropped {
    std::array<std::atomic<std::uint64_t>, kDiscards> by_reason{};
    std::atomic<std::uint64_t> taken{0};
  };

  /// `bytes`: for the records that it may hold at most.
  [[nodiscard]] virtual std::unique_ptr<RingBase> make_ring(std::size_t bytes, Parker& producer,
                                                            Parker& consumer) const = 0;
  [[nodiscard]] virtual std::unique_ptr<BacklogBase> make_backlog(Parker& consumer) const = 0;

  Stage* producer_;
  Stage* consumer_;
  Spread spread_;
  bool feedback_ = false;
  const Operator* from_ = nullptr;
  const SideBase* side_ = nullptr;
  std::size_t producers_ = 0, consumers_ = 0;
  std::vector<std::unique_ptr<RingBase>> rings_;
  std::vector<Worker*> producers_of_;  // of each ring
  std::vector<Dropped> dropped_;
  std::vector<std::atomic<std::uint64_t>> swallowed_;  // by consuming replica
  std::unique_ptr<BacklogBase> backlog_;
  std::atomic<std::size_t> open_{0};
  std::atomic<std::optional<Discard>> abandoned_{};
};

/// An edge whose records are of type T.
template <typename T>
class Edge final : public EdgeBase {
 public:
  using EdgeBase::EdgeBase;

 private:
  std::unique_ptr<RingBase> make_ring(std::size_t bytes, Parker& producer, Parker& consumer) const override {
    return made<RingBase, Ring<T>>(Ring<T>::fitting(kLeastRing), Ring<T>::fitting(bytes), producer, consumer);
  }
  std::unique_ptr<BacklogBase> make_backlog(Parker& consumer) const override {
    return made<BacklogBase, Backlog<T>>(consumer);
  }
};

}  // namespace ebb::flow
