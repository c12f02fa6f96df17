#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace ebb {

/// What `.collect()` gives: the records that have arrived, once the pipeline has ended. Copies share them.
template <typename T>
class Collected {
 public:
  static constexpr std::size_t kLimitBytes = std::size_t{1} << 30;

  Collected() : records_(std::make_shared<std::vector<T>>()) {}

  /// In the order of arrival. Only when the pipeline has ended; empty before it was submitted.
  [[nodiscard]] const std::vector<T>& get() const noexcept { return *records_; }
  /// Moves them out.
  [[nodiscard]] std::vector<T> take() { return std::move(*records_); }

  // For the library.
  [[nodiscard]] auto sink() const {
    return [records = records_](T record) {
      if (records->size() >= kLimitBytes / sizeof(T)) {
        throw std::length_error("ebb: collect() holds 1 GiB of records at most; use sink(f) for more");
      }
      records->push_back(std::move(record));
    };
  }

 private:
  std::shared_ptr<std::vector<T>> records_;
};

}  // namespace ebb
