#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

namespace ebb::engine {

/// A set of non-negative 64-bit numbers that knows the rank of each: how many are smaller.
///
/// A radix tree: leaves are 512-bit maps, inner nodes have 16 children and their counts, and the height grows
/// with the largest number. Sequence numbers are dense, so a million of them take 200 KB, which stays in the
/// cache: a search tree with a node for each element would cost a cache miss a level. Every operation is
/// O(log of the largest number). Not thread-safe.
class RankedSet {
 public:
  RankedSet();
  RankedSet(RankedSet&&) noexcept;
  RankedSet& operator=(RankedSet&&) noexcept;
  ~RankedSet();

  /// False when it was there (insert) or was not (erase).
  bool insert(std::int64_t value);
  bool erase(std::int64_t value);
  [[nodiscard]] bool contains(std::int64_t value) const;
  /// How many elements are smaller than `value`.
  [[nodiscard]] std::int64_t rank(std::int64_t value) const;
  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  struct Node;
  struct Leaf;
  struct Inner;
  [[nodiscard]] static std::int64_t span(int height);

  std::unique_ptr<Node> root_;
  int height_ = 0;  // of the root; 0 is a leaf
  std::int64_t size_ = 0;
};

}  // namespace ebb::engine
