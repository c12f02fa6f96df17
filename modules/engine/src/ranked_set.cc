#include "ranked_set.h"

#include <bit>
#include <cassert>
#include <cstddef>

namespace ebb::engine {
namespace {
constexpr int kLeafBits = 9;
constexpr int kFanBits = 4;
constexpr int kMaxHeight = (62 - kLeafBits) / kFanBits;

constexpr int shift_of(int height) { return kLeafBits + kFanBits * (height - 1); }
constexpr std::size_t child_of(std::int64_t value, int height) {
  return static_cast<std::size_t>(value >> shift_of(height)) & ((1U << kFanBits) - 1);
}
constexpr std::size_t bit_of(std::int64_t value) {
  return static_cast<std::size_t>(value) & ((1U << kLeafBits) - 1);
}
}  // namespace

struct RankedSet::Node {
  virtual ~Node() = default;
};
struct RankedSet::Leaf final : RankedSet::Node {
  std::array<std::uint64_t, (1U << kLeafBits) / 64> words{};
};
struct RankedSet::Inner final : RankedSet::Node {
  std::array<std::unique_ptr<Node>, 1U << kFanBits> children;
  std::array<std::int64_t, 1U << kFanBits> counts{};
};

RankedSet::RankedSet() = default;
RankedSet::RankedSet(RankedSet&&) noexcept = default;
RankedSet& RankedSet::operator=(RankedSet&&) noexcept = default;
RankedSet::~RankedSet() = default;

std::int64_t RankedSet::span(int height) { return std::int64_t{1} << (kLeafBits + kFanBits * height); }

bool RankedSet::contains(std::int64_t value) const {
  if (value < 0 || !root_ || value >= span(height_)) return false;
  const Node* node = root_.get();
  for (int height = height_; height > 0; --height) {
    node = static_cast<const Inner*>(node)->children[child_of(value, height)].get();
    if (!node) return false;
  }
  const std::size_t bit = bit_of(value);
  return (static_cast<const Leaf*>(node)->words[bit / 64] >> (bit % 64)) & 1U;
}

bool RankedSet::insert(std::int64_t value) {
  assert(value >= 0);
  if (contains(value)) return false;
  if (!root_) {
    root_ = std::make_unique<Leaf>();
    height_ = 0;
  }
  while (value >= span(height_) && height_ < kMaxHeight) {
    auto above = std::make_unique<Inner>();
    above->children[0] = std::move(root_);
    above->counts[0] = size_;
    root_ = std::move(above);
    ++height_;
  }
  Node* node = root_.get();
  for (int height = height_; height > 0; --height) {
    auto& inner = static_cast<Inner&>(*node);
    const std::size_t child = child_of(value, height);
    ++inner.counts[child];
    if (!inner.children[child]) {
      if (height == 1)
        inner.children[child] = std::make_unique<Leaf>();
      else
        inner.children[child] = std::make_unique<Inner>();
    }
    node = inner.children[child].get();
  }
  const std::size_t bit = bit_of(value);
  static_cast<Leaf&>(*node).words[bit / 64] |= std::uint64_t{1} << (bit % 64);
  ++size_;
  return true;
}

bool RankedSet::erase(std::int64_t value) {
  if (!contains(value)) return false;
  if (--size_ == 0) {
    root_.reset();
    return true;
  }
  Node* node = root_.get();
  for (int height = height_; height > 0; --height) {
    auto& inner = static_cast<Inner&>(*node);
    const std::size_t child = child_of(value, height);
    if (--inner.counts[child] == 0) {  // it was the last one below here
      inner.children[child].reset();
      return true;
    }
    node = inner.children[child].get();
  }
  const std::size_t bit = bit_of(value);
  static_cast<Leaf&>(*node).words[bit / 64] &= ~(std::uint64_t{1} << (bit % 64));
  return true;
}

std::int64_t RankedSet::rank(std::int64_t value) const {
  if (value <= 0 || !root_) return 0;
  if (value >= span(height_)) return size_;
  std::int64_t below = 0;
  const Node* node = root_.get();
  for (int height = height_; height > 0; --height) {
    const auto& inner = static_cast<const Inner&>(*node);
    const std::size_t child = child_of(value, height);
    for (std::size_t i = 0; i < child; ++i) below += inner.counts[i];
    node = inner.children[child].get();
    if (!node) return below;
  }
  const auto& words = static_cast<const Leaf*>(node)->words;
  const std::size_t bit = bit_of(value);
  for (std::size_t i = 0; i < bit / 64; ++i) below += std::popcount(words[i]);
  if (bit % 64 != 0) below += std::popcount(words[bit / 64] & ((std::uint64_t{1} << (bit % 64)) - 1));
  return below;
}

}  // namespace ebb::engine
