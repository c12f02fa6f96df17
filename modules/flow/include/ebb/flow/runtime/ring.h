#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "ebb/flow/runtime/parker.h"

namespace ebb::flow {

/// Why a record that was sent was never received.
enum class Discard : std::uint8_t { cancel, consumer_ended, failure };
inline constexpr std::size_t kDiscards = 3;

inline constexpr std::size_t kCacheLine = 64;

/// What a ring has of which its records' type does not matter: positions, ends, who waits. Both sides are one
/// thread each. Positions count records since the beginning and never wrap.
///
/// A record can be had when push() returns: a producer that is then held up in user code holds nothing back,
/// so there is nothing to flush and no timer. Yet the two positions that the sides look at are written once
/// for many records, since a line that one side writes and the other reads costs more than the records in it:
/// the consumer looks at `announced_` first, and at `tail_`, which the producer writes for each record, only
/// when it would have to wait. Whoever sleeps is woken by the change that it waits for.
class RingBase {
 public:
  RingBase(std::size_t capacity, Parker& producer, Parker& consumer)
      : capacity_(std::bit_ceil(capacity)),
        announce_mask_(std::clamp<std::size_t>(capacity_ / 16, 1, 64) - 1),
        producer_(&producer),
        consumer_(&consumer) {}
  RingBase(const RingBase&) = delete;
  RingBase& operator=(const RingBase&) = delete;

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  // The producer's.

  /// No record will follow.
  void close() noexcept {
    closed_.store(true, std::memory_order_release);
    light_fence();
    consumer_->wake();
  }
  /// The consumer takes nothing any more.
  [[nodiscard]] bool abandoned() const noexcept { return abandoned_.load(std::memory_order_acquire) != 0; }
  /// Half of it is free again, which is when a producer that found it full goes on; or it was abandoned.
  [[nodiscard]] bool roomy() const noexcept {
    const std::uint64_t used = tail_.load(std::memory_order_relaxed) - head_.load(std::memory_order_acquire);
    return used <= capacity_ / 2 || abandoned();
  }

  /// The consumer must not let more gather: the producer is going to wait for it.
  void hurry() noexcept {
    announced_.store(tail_.load(std::memory_order_relaxed), std::memory_order_release);
    light_fence();
    consumer_->wake();
  }

  // The consumer's.

  [[nodiscard]] bool empty() const noexcept {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_acquire);
  }
  /// The producer has closed it and all its records were taken.
  [[nodiscard]] bool ended() const noexcept { return closed_.load(std::memory_order_acquire) && empty(); }

  /// Nothing is taken any more; what lies in it, and what may still come, is discarded for this reason.
  void abandon(Discard reason) noexcept {
    abandoned_.store(static_cast<std::uint8_t>(1 + static_cast<std::uint8_t>(reason)),
                     std::memory_order_release);
    light_fence();
    producer_->wake();
  }

  // Anybody's.

  /// Only where it is abandoned().
  [[nodiscard]] Discard reason() const noexcept {
    return static_cast<Discard>(abandoned_.load(std::memory_order_relaxed) - 1);
  }
  [[nodiscard]] std::uint64_t sent() const noexcept { return tail_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t taken() const noexcept { return head_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t most() const noexcept { return most_.load(std::memory_order_relaxed); }

 protected:
  // How many there are for a consumer that has taken `head`.
  [[nodiscard]] std::uint64_t waiting(std::uint64_t head) const noexcept {
    const std::uint64_t announced = announced_.load(std::memory_order_acquire);
    // The consumer may be ahead of what was announced.
    if (static_cast<std::int64_t>(announced - head) > 0) return announced - head;
    return tail_.load(std::memory_order_acquire) - head;
  }
  void give_back(std::uint64_t head) noexcept {
    head_.store(head, std::memory_order_release);
    light_fence();
    if (producer_->sleeping() && roomy()) producer_->wake();
  }
  void saw(std::uint64_t waiting) noexcept {
    if (waiting > most_.load(std::memory_order_relaxed)) most_.store(waiting, std::memory_order_relaxed);
  }

  alignas(kCacheLine) std::atomic<std::uint64_t> tail_{0};
  alignas(kCacheLine) std::atomic<std::uint64_t> announced_{0};
  std::atomic<bool> closed_{false};
  alignas(kCacheLine) std::atomic<std::uint64_t> head_{0};
  std::atomic<std::uint64_t> most_{0};
  alignas(kCacheLine) std::atomic<std::uint8_t> abandoned_{0};  // on a line that both only read
  std::size_t capacity_;
  std::size_t announce_mask_;
  Parker* producer_;
  Parker* consumer_;
};

/// The bounded queue between one producing and one consuming replica; records lie in it by value.
template <typename T>
class Ring final : public RingBase {
 public:
  Ring(std::size_t capacity, Parker& producer, Parker& consumer)
      : RingBase(capacity, producer, consumer), slots_(std::allocator<T>().allocate(capacity_)) {}
  ~Ring() {
    destroy(head_.load(std::memory_order_relaxed), tail_.load(std::memory_order_relaxed));
    std::allocator<T>().deallocate(slots_, capacity_);
  }

  /// A place to begin with for records of this type: as many as fit in 64 KiB, and not fewer than 4.
  static constexpr std::size_t default_capacity() {
    return std::clamp<std::size_t>(std::bit_floor(std::size_t{64} * 1024 / sizeof(T)), 4, 4096);
  }

  /// Producer: appends, where has_room().
  void push(T&& record) { writer().push(std::move(record)); }
  /// The producer's end of a ring as local variables of its loop.
  struct Writer {
    T* slots = nullptr;
    std::uint64_t tail = 0, end = 0;  // room for the records between
    std::uint64_t mask = 0, announce_mask = 0;
    std::atomic<std::uint64_t>*written = nullptr, *announced = nullptr;
    Parker* consumer = nullptr;

    [[nodiscard]] bool has_room() const noexcept { return tail != end; }
    [[gnu::always_inline]] void push(T&& record) {
      std::construct_at(&slots[tail & mask], std::move(record));
      written->store(++tail, std::memory_order_release);
      if ((tail & announce_mask) == 0) announced->store(tail, std::memory_order_release);
      light_fence();
      if (consumer->sleeping()) [[unlikely]]
        consumer->wake();
    }
  };
  /// Producer: nothing else may push until it is through with this.
  [[nodiscard]] Writer writer() noexcept {
    (void)has_room();
    return {.slots = slots_,
            .tail = tail_.load(std::memory_order_relaxed),
            .end = seen_head_ + capacity_,
            .mask = capacity_ - 1,
            .announce_mask = announce_mask_,
            .written = &tail_,
            .announced = &announced_,
            .consumer = consumer_};
  }
  /// Producer: whether there is room, looking at the consumer's line only where its last look says no.
  [[nodiscard]] bool has_room() noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - seen_head_ < capacity_) return true;
    seen_head_ = head_.load(std::memory_order_acquire);
    return tail - seen_head_ < capacity_;
  }

  /// Consumer: what lies next to each other at the front, `limit` at most; empty where there is nothing.
  /// Valid until pop().
  [[nodiscard]] std::span<T> front(std::size_t limit) noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t there = waiting(head);
    saw(there);
    const std::size_t at = head & (capacity_ - 1);
    const std::size_t count = std::min({std::size_t{there}, capacity_ - at, limit});
    return {&slots_[at], count};
  }
  /// Consumer: destroys the first `count` records and gives their places back.
  void pop(std::size_t count) noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    destroy(head, head + count);
    give_back(head + count);
  }

 private:
  void destroy(std::uint64_t from, std::uint64_t to) noexcept {
    if constexpr (!std::is_trivially_destructible_v<T>) {
      for (; from != to; ++from) std::destroy_at(&slots_[from & (capacity_ - 1)]);
    }
  }

  T* slots_;
  alignas(kCacheLine) std::uint64_t seen_head_ = 0;
};

}  // namespace ebb::flow
