#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/footprint.h"
#include "ebb/flow/units.h"

namespace ebb {

struct CollectOptions {
  std::uint64_t limit = 1_GiB;  ///< bytes that the records may take; past it the pipeline fails
};

/// What `.collect()` gives: the records that have arrived, once the pipeline has ended. Copies share them.
template <typename T>
class Collected {
 public:
  Collected() : records_(std::make_shared<std::vector<T>>()) {}

  /// In the order of arrival. Only when the pipeline has ended; empty before it was submitted.
  [[nodiscard]] const std::vector<T>& get() const noexcept { return *records_; }
  /// Moves them out.
  [[nodiscard]] std::vector<T> take() { return std::move(*records_); }

  // For the library.
  [[nodiscard]] auto sink(CollectOptions options) const {
    return [records = records_, left = options.limit](T record) mutable {
      const std::uint64_t bytes = flow::footprint(record);
      if (bytes > left) {
        throw std::length_error(
            "ebb: collect() has come to its limit; collect({.limit = …}) raises it, and sink(f) needs none");
      }
      left -= bytes;
      records->push_back(std::move(record));
    };
  }

 private:
  std::shared_ptr<std::vector<T>> records_;
};

}  // namespace ebb
