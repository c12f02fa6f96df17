#include "slab.h"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>

namespace ebb::engine {
namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kFirstBlock = 256;
constexpr std::size_t kLargestBlock = kHugePage / sizeof(Job);

std::align_val_t aligned(std::size_t bytes, std::size_t alignment) {
  return std::align_val_t{bytes >= kHugePage ? kHugePage : alignment};
}
}  // namespace

void* allocate_large(std::size_t bytes, std::size_t alignment) {
  void* const memory = ::operator new(bytes, aligned(bytes, alignment));
  // Advice: where the kernel has none to spare, pages stay small.
  if (bytes >= kHugePage) (void)::madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}
void free_large(void* memory, std::size_t bytes, std::size_t alignment) noexcept {
  ::operator delete(memory, bytes, aligned(bytes, alignment));
}

Slab::~Slab() {
  assert(live_ == 0);  // their owner drops them: a job has boxes of its own
  free_blocks();
}

void Slab::free_blocks() noexcept {
  for (const Block& block : blocks_) free_large(block.jobs, block.size * sizeof(Job), alignof(Job));
  blocks_.clear();
  used_ = 0;
}

void Slab::add_block() {
  const std::size_t size = blocks_.empty() ? kFirstBlock : std::min(blocks_.back().size * 4, kLargestBlock);
  blocks_.push_back({static_cast<Job*>(allocate_large(size * sizeof(Job), alignof(Job))), size});
  used_ = 0;
}

Job* Slab::make() {
  ++live_;
  void* place = nullptr;
  if (!spare_.empty()) {
    place = spare_.back();
    spare_.pop_back();
  } else {
    if (blocks_.empty() || used_ == blocks_.back().size) add_block();
    place = blocks_.back().jobs + used_++;
  }
  return new (place) Job{};
}

void Slab::drop(Job* job) noexcept {
  std::destroy_at(job);
  if (--live_ == 0 && blocks_.size() > 1) {  // after a flood, its memory goes back
    spare_ = std::vector<Job*>();
    free_blocks();
  } else {
    spare_.push_back(job);
  }
}

}  // namespace ebb::engine
