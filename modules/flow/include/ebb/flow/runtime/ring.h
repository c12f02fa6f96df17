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

#include "ebb/base/clock.h"
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
///
/// How many may wait in it adapts to its consumer. A thread that was asleep takes up to 50 µs until it runs,
/// for which the other side needs work; but what waits must flow out at a stop. So a ring that is full again
/// within a millisecond may hold twice as many, up to the size of its memory, and one that a slow consumer
/// keeps full holds fewer again. Only so much of the memory is used as it has ever held.
class RingBase {
 public:
  /// Records, both rounded up to a power of two: that it holds at first, and at most.
  RingBase(std::size_t capacity, std::size_t most, Parker& producer, Parker& consumer)
      : size_(std::bit_ceil(std::max(capacity, most))),
        least_(std::bit_ceil(capacity)),
        announce_mask_(std::clamp<std::size_t>(least_ / 16, 1, 64) - 1),
        producer_(&producer),
        consumer_(&consumer),
        capacity_(least_),
        mask_(least_ - 1) {}
  RingBase(const RingBase&) = delete;
  RingBase& operator=(const RingBase&) = delete;
  virtual ~RingBase() = default;

  /// How many records it may hold now.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_.load(std::memory_order_relaxed); }

  // The producer's.

  /// Whether there is room, looking at the consumer's line only where its last look says no.
  [[nodiscard]] [[gnu::always_inline]] bool has_room() noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == grows_at_) [[unlikely]]
      grow();
    if (tail - seen_head_ < capacity()) return true;
    seen_head_ = head_.load(std::memory_order_acquire);
    return tail - seen_head_ < capacity();
  }
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
    return used <= capacity() / 2 || abandoned();
  }

  /// It is full, and the producer going to wait: the consumer must not let more gather.
  void hurry(BootTime now) noexcept {
    const Duration since = now - std::exchange(filled_at_, now);
    if (since < kSoon && capacity() <= mask()) {
      capacity_.store(capacity() * 2, std::memory_order_relaxed);
    } else if (since < kSoon && capacity() < size_) {
      // Where its places are used for the second time of two: what lies in it is of the first, and stays
      // where it is when they are twice as many.
      const std::uint64_t places = mask() + 1, tail = tail_.load(std::memory_order_relaxed);
      grows_at_ = (tail + places - 1) / (2 * places) * (2 * places) + places;
    } else if (since > 8 * kSoon && capacity() > least_) {
      capacity_.store(capacity() / 2, std::memory_order_relaxed);
    }
    announced_.store(tail_.load(std::memory_order_relaxed), std::memory_order_release);
    light_fence();
    consumer_->wake();
  }

  // The consumer's.

  /// Records that lie next to each other at the front: the place of the first, and how many.
  struct Front {
    std::size_t at = 0, count = 0;
  };
  /// As many as there are, up to `limit`. Valid until pop().
  [[nodiscard]] Front peek(std::size_t limit) noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t there = waiting(head);
    saw(there);
    const std::size_t places = mask() + 1, at = head & (places - 1);
    return {.at = at, .count = std::min({std::size_t{there}, places - at, limit})};
  }
  /// Destroys the first `count` records and gives their places back.
  virtual void pop(std::size_t count) noexcept = 0;
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
  // Not inlined: once for many records, and the loop that it stands in has no register to spare.
  [[gnu::noinline]] void look_for_room() noexcept { (void)has_room(); }
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
  // Of the place of a record within its position. It grows before a record is told of that needs it.
  [[nodiscard]] std::size_t mask() const noexcept { return mask_.load(std::memory_order_relaxed); }
  void saw(std::uint64_t waiting) noexcept {
    if (waiting > most_.load(std::memory_order_relaxed)) most_.store(waiting, std::memory_order_relaxed);
  }

  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  alignas(kCacheLine) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t seen_head_ = 0;  // this and the next are the producer's
  BootTime filled_at_{};
  std::uint64_t grows_at_ = kNever;  // the position at which its places become twice as many
  alignas(kCacheLine) std::atomic<std::uint64_t> announced_{0};
  std::atomic<bool> closed_{false};
  alignas(kCacheLine) std::atomic<std::uint64_t> head_{0};
  std::atomic<std::uint64_t> most_{0};
  alignas(kCacheLine) std::atomic<std::uint8_t> abandoned_{0};  // on a line that both only read
  std::size_t size_, least_;
  std::size_t announce_mask_;
  Parker* producer_;
  Parker* consumer_;
  std::atomic<std::size_t> capacity_;  // from least_ to the places that are used
  std::atomic<std::size_t> mask_;

 private:
  static constexpr Duration kSoon = std::chrono::milliseconds(1);

  [[gnu::noinline]] void grow() noexcept {
    grows_at_ = kNever;
    mask_.store(2 * mask() + 1, std::memory_order_relaxed);  // seen with the next record's position
    capacity_.store(mask() + 1, std::memory_order_relaxed);
  }
};

/// The bounded queue between one producing and one consuming replica; records lie in it by value.
template <typename T>
class Ring final : public RingBase {
 public:
  Ring(std::size_t capacity, std::size_t most, Parker& producer, Parker& consumer)
      : RingBase(capacity, most, producer, consumer), slots_(std::allocator<T>().allocate(size_)) {}
  ~Ring() override {
    destroy(head_.load(std::memory_order_relaxed), tail_.load(std::memory_order_relaxed));
    std::allocator<T>().deallocate(slots_, size_);
  }

  /// As many records of this type as fit in so many bytes, but not more than 64 for each KiB, and not fewer
  /// than 4.
  static constexpr std::size_t fitting(std::size_t bytes) {
    return std::clamp<std::size_t>(std::bit_floor(bytes / sizeof(T)), 4,
                                   std::max<std::size_t>(bytes / 16, 4));
  }

  /// Producer: appends, where has_room(). Inlined, so that the record is written once, from registers.
  [[gnu::always_inline]] void push(T&& record) { as_writer().push(std::move(record)); }
  /// The producer's end of a ring as local variables of its loop; few, so that they are registers.
  struct Writer {
    Ring* ring = nullptr;
    T* slots = nullptr;
    std::uint64_t tail = 0, end = 0;  // room for the records between
    std::uint64_t mask = 0;

    [[nodiscard]] bool has_room() const noexcept { return tail != end; }
    [[gnu::always_inline]] void push(T&& record) {
      std::construct_at(&slots[tail & mask], std::move(record));
      ring->tail_.store(++tail, std::memory_order_release);
      if ((tail & ring->announce_mask_) == 0) ring->announced_.store(tail, std::memory_order_release);
      light_fence();
      if (ring->consumer_->sleeping()) [[unlikely]]
        ring->consumer_->wake();
    }
  };
  /// Producer: nothing else may push until it is through with this.
  [[nodiscard]] [[gnu::always_inline]] Writer writer() noexcept {
    look_for_room();
    return as_writer();
  }
  /// Consumer: those that peek() tells of.
  [[nodiscard]] std::span<T> records(Front front) noexcept { return {&slots_[front.at], front.count}; }
  [[nodiscard]] std::span<T> front(std::size_t limit) noexcept { return records(peek(limit)); }
  void pop(std::size_t count) noexcept override {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    destroy(head, head + count);
    give_back(head + count);
  }

 private:
  [[nodiscard]] [[gnu::always_inline]] Writer as_writer() noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    std::uint64_t end = seen_head_ + capacity();
    if (end < tail) end = tail;            // it may hold more
    if (end > grows_at_) end = grows_at_;  // which is not before the tail
    return {.ring = this, .slots = slots_, .tail = tail, .end = end, .mask = mask()};
  }
  void destroy(std::uint64_t from, std::uint64_t to) noexcept {
    if constexpr (!std::is_trivially_destructible_v<T>) {
      for (; from != to; ++from) std::destroy_at(&slots_[from & mask()]);
    }
  }

  T* slots_;
};

}  // namespace ebb::flow
