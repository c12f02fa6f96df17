#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ebb::flow {

/// What all rows of a CSV file share.
class CsvHeader {
 public:
  CsvHeader(std::string file, std::vector<std::string> names);
  CsvHeader(const CsvHeader&) = delete;  // it knows the names by where they are
  CsvHeader& operator=(const CsvHeader&) = delete;
  ~CsvHeader() = default;

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  /// Empty where the file has none.
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  /// The column of this name; throws std::out_of_range where there is none, or several.
  [[nodiscard]] std::size_t index(std::string_view name) const;

 private:
  std::string file_;
  std::vector<std::string> names_;
  std::map<std::string_view, std::size_t> by_name_;  // kTwice: of several columns
};

}  // namespace ebb::flow
