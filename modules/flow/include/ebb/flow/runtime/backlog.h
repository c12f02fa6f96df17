#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/footprint.h"
#include "ebb/flow/runtime/ring.h"

namespace ebb::flow {

/// What a backlog has of which its records' type does not matter.
class BacklogBase {
 public:
  explicit BacklogBase(Parker& consumer) : consumer_(&consumer) {}
  virtual ~BacklogBase() = default;
  BacklogBase(const BacklogBase&) = delete;
  BacklogBase& operator=(const BacklogBase&) = delete;

  [[nodiscard]] bool empty() const noexcept { return !waiting_.load(std::memory_order_acquire); }
  /// Consumer: this many were taken to be worked on.
  void count_taken(std::uint64_t count) noexcept {
    taken_.store(taken_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }

  // Anybody's.
  void wake() noexcept { consumer_->wake(); }
  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t most() const noexcept { return most_.load(std::memory_order_relaxed); }

 protected:
  Parker* consumer_;
  std::atomic<bool> waiting_{false};
  std::atomic<std::uint64_t> sent_{0}, taken_{0}, most_{0};
};

/// What waits on a feedback edge: the one queue without an end, since a stage of a cycle that had to wait for
/// room before it would wait for itself. Any number of producers, one consumer.
template <typename T>
class Backlog final : public BacklogBase {
 public:
  using BacklogBase::BacklogBase;

  /// Producers: appends; how many bytes wait now, the record's among them.
  std::uint64_t push(T&& record) {
    std::uint64_t bytes = footprint(record);
    {
      const std::lock_guard lock(mutex_);
      records_.push_back(std::move(record));
      bytes = bytes_ += bytes;
      sent_.store(sent_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      most_.store(std::max<std::uint64_t>(most_.load(std::memory_order_relaxed), records_.size()),
                  std::memory_order_relaxed);
    }
    waiting_.store(true, std::memory_order_release);
    light_fence();
    if (consumer_->sleeping()) consumer_->wake();
    return bytes;
  }
  /// Consumer: all that waits, in the place of `into`'s.
  void take(std::vector<T>& into) {
    into.clear();
    const std::lock_guard lock(mutex_);
    waiting_.store(false, std::memory_order_relaxed);
    std::swap(into, records_);
    bytes_ = 0;
  }

 private:
  std::mutex mutex_;
  std::vector<T> records_;
  std::uint64_t bytes_ = 0;
};

}  // namespace ebb::flow
