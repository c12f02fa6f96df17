#pragma once

#include <string>
#include <vector>

namespace ebb::cli {

/// Rows of words, printed in columns as wide as they need; the last column is not padded. Cells are made
/// harmless for a terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { add(std::move(header)); }
  void add(std::vector<std::string> row);
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "0 1 2"; "-" when there are none.
[[nodiscard]] std::string numbers(const std::vector<int>& values);

}  // namespace ebb::cli
