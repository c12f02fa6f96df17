#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "job.h"

namespace ebb::engine {

/// Memory for large tables. From 2 MB on it asks for huge pages: with a million jobs, most of what a random
/// cancel costs is otherwise the walk through the page tables.
[[nodiscard]] void* allocate_large(std::size_t bytes, std::size_t alignment);
void free_large(void* memory, std::size_t bytes, std::size_t alignment) noexcept;

template <typename T>
struct LargeAllocator {
  using value_type = T;
  LargeAllocator() = default;
  template <typename U>
  LargeAllocator(const LargeAllocator<U>&) {}
  [[nodiscard]] T* allocate(std::size_t n) {
    return static_cast<T*>(allocate_large(n * sizeof(T), alignof(T)));
  }
  void deallocate(T* memory, std::size_t n) noexcept { free_large(memory, n * sizeof(T), alignof(T)); }
  template <typename U>
  bool operator==(const LargeAllocator<U>&) const {
    return true;
  }
};

/// Owns the jobs, in blocks; addresses are stable. A dropped job's place is the next to be used again, while
/// it is warm in the cache.
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab();

  [[nodiscard]] Job* make();
  void drop(Job* job) noexcept;

 private:
  struct Block {
    Job* jobs = nullptr;
    std::size_t size = 0;
  };
  void add_block();
  void free_blocks() noexcept;

  std::vector<Block> blocks_;
  std::size_t used_ = 0;  // places of the last block that were ever used
  std::vector<Job*> spare_;
  std::size_t live_ = 0;
};

}  // namespace ebb::engine
