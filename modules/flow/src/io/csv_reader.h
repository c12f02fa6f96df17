#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ebb/flow/io/csv.h"
#include "io/csv_header.h"
#include "io/csv_parser.h"
#include "io/input.h"

namespace ebb::flow {

/// Reads an input row by row. One thread.
class CsvReader {
 public:
  CsvReader(std::string file, const CsvOptions& options);

  /// The end of the next row can be had without reading. Throws like next().
  [[nodiscard]] bool at_hand();
  /// The next row; false at the end. A row that is in error is left out and thrown as std::runtime_error; a
  /// header that is in error, which leaves no row anything to go by, as IoError.
  [[nodiscard]] bool next(Input& input, CsvRow& row);

 private:
  bool read(Input& input);
  bool advance();
  void use(std::size_t bytes);
  void skip_line();
  [[nodiscard]] bool begin();
  [[nodiscard]] bool read_header(Input& input);
  void expect_fields();
  [[noreturn]] void refuse(std::uint64_t line, const std::string& what) const;

  std::string file_;
  CsvOptions options_;
  std::shared_ptr<const CsvHeader> header_;
  Window window_;
  CsvFields fields_;
  bool ready_ = false;             // a row is in fields_
  std::uint64_t row_at_ = 0;       // its line
  std::uint64_t line_ = 1;         // where the window begins
  bool begun_ = false;             // what may stand before the first row has been looked at
  bool at_end_ = false;            // nothing follows the window
  bool skipping_ = false;          // the rest of a line that is in error
  std::size_t expected_ = 0;       // fields of each row; 0: the next one says
  std::uint64_t expected_at_ = 0;  // the line that says so
};

}  // namespace ebb::flow
