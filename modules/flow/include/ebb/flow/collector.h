#pragma once

#include <utility>
#include <vector>

namespace ebb {

/// What functions of flat_map() and process() emit to that are no templates: `emit(record)`. What they emit
/// goes on when they have returned; with `auto& emit` it goes on at once.
template <typename U>
class Collector {
 public:
  void operator()(U record) { records_.push_back(std::move(record)); }
  /// For the library.
  [[nodiscard]] std::vector<U>& records() noexcept { return records_; }

 private:
  std::vector<U> records_;
};

}  // namespace ebb
