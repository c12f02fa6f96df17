#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>

namespace ebb::flow {

/// Times in buckets whose width grows with the time: eight for each doubling, so that a quantile is off by
/// 6 % at most. Up to 18 minutes; what is longer counts as that. (The idea is that of HdrHistogram.)
class Histogram {
 public:
  using Time = std::chrono::nanoseconds;

  /// One thread adds.
  void add(Time time) noexcept {
    auto& count = counts_[bucket(time)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// Any thread.
  void add_shared(Time time) noexcept { counts_[bucket(time)].fetch_add(1, std::memory_order_relaxed); }

 private:
  friend class Quantiles;
  static constexpr int kBits = 3, kSteps = 1 << kBits, kOctaves = 38;
  static constexpr std::size_t kBuckets = std::size_t{kSteps} * kOctaves;

  static std::size_t bucket(Time time) noexcept {
    const auto value = time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
    if (value < kSteps) return value;
    const int octave = static_cast<int>(std::bit_width(value)) - kBits;
    const std::size_t at =
        static_cast<std::size_t>(octave) * kSteps + ((value >> (octave - 1)) & (kSteps - 1));
    return at < kBuckets ? at : kBuckets - 1;
  }
  /// The middle of it, in nanoseconds.
  static double middle(std::size_t bucket) noexcept {
    if (bucket < kSteps) return static_cast<double>(bucket);
    const auto octave = static_cast<int>(bucket / kSteps);
    const std::uint64_t width = std::uint64_t{1} << (octave - 1);
    return static_cast<double>((bucket % kSteps + kSteps) * width) + static_cast<double>(width) / 2;
  }

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
};

/// What several histograms say together.
class Quantiles {
 public:
  void add(const Histogram& histogram) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      const std::uint64_t count = histogram.counts_[i].load(std::memory_order_relaxed);
      counts_[i] += count;
      samples_ += count;
    }
  }
  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }
  /// In microseconds; 0 where there is no sample. `share` of them took no longer.
  [[nodiscard]] double at(double share) const noexcept {
    auto left = static_cast<std::uint64_t>(share * static_cast<double>(samples_));
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return Histogram::middle(i) / 1e3;
      left -= counts_[i];
    }
    return 0;
  }

 private:
  std::array<std::uint64_t, Histogram::kBuckets> counts_{};
  std::uint64_t samples_ = 0;
};

}  // namespace ebb::flow
