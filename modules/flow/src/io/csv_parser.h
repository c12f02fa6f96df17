#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ebb::flow {

/// The fields of one row, one behind the other.
struct CsvFields {
  std::string text;
  std::vector<std::uint32_t> ends;
};

struct CsvStep {
  enum class Found {
    row,         ///< its fields are in the result
    empty_line,  ///< left out
    partial,     ///< its end is not there yet: again, with more
    error,       ///< `what` says why it is no row
  };
  Found found = Found::partial;
  std::size_t used = 0;  ///< bytes of a row or an empty line with its end; those before an error
  const char* what = "";
};

/// Reads the row at the beginning of `data`, which is not empty; `last` says that nothing follows it. Pure:
/// the same row again where it was partial.
[[nodiscard]] CsvStep parse_csv_row(std::string_view data, bool last, char delimiter, std::size_t max_columns,
                                    CsvFields& fields);

/// Throws std::invalid_argument for what cannot be told from the rest of a row.
void check_delimiter(char delimiter);

/// One field as a row has it: in quotes where it needs them.
void append_csv_field(std::string& out, std::string_view field, char delimiter);

}  // namespace ebb::flow
