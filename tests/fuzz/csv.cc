// Files of rows, which come from anywhere.

#include <algorithm>
#include <stdexcept>

#include "io/csv_parser.h"
#include "property.h"

namespace {

using ebb::flow::CsvFields;
using ebb::flow::CsvStep;
using ebb::flow::parse_csv_row;
using ebb::fuzz::must;
constexpr std::size_t kMostColumns = 50;

// What is a row stays one when more follows; and written out again it is the same row.
void check_row(std::string_view rest, const CsvStep& step, const CsvFields& fields, char delimiter) {
  must(step.used > 0 && step.used <= rest.size());
  must(!fields.ends.empty() && fields.ends.size() <= kMostColumns);
  must(std::is_sorted(fields.ends.begin(), fields.ends.end()) && fields.ends.back() == fields.text.size());
  std::string written;
  std::size_t begin = 0;
  for (const std::uint32_t& end : fields.ends) {
    if (&end != fields.ends.data()) written += delimiter;
    ebb::flow::append_csv_field(written, std::string_view(fields.text).substr(begin, end - begin), delimiter);
    begin = end;
  }
  if (written.empty()) written = "\"\"";  // else it would be an empty line
  written += '\n';
  CsvFields again;
  const CsvStep second = parse_csv_row(written, false, delimiter, kMostColumns, again);
  must(second.found == CsvStep::Found::row && second.used == written.size());
  must(again.text == fields.text && again.ends == fields.ends);
}

// A prefix of a row is partial, never another row.
void check_prefixes(std::string_view row, char delimiter) {
  CsvFields fields;
  const std::size_t step = row.size() / 16 + 1;
  for (std::size_t length = 1; length < row.size(); length += step) {
    must(parse_csv_row(row.substr(0, length), false, delimiter, kMostColumns, fields).found ==
         CsvStep::Found::partial);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const char delimiter = static_cast<char>(data[0]);
  try {
    ebb::flow::check_delimiter(delimiter);
  } catch (const std::invalid_argument&) {
    return 0;
  }
  std::string_view rest = ebb::fuzz::text(data + 1, size - 1);
  CsvFields fields;
  while (!rest.empty()) {
    const CsvStep step = parse_csv_row(rest, true, delimiter, kMostColumns, fields);
    must(step.found != CsvStep::Found::partial);
    if (step.found == CsvStep::Found::row) {
      check_row(rest, step, fields, delimiter);
      if (rest[step.used - 1] == '\n') check_prefixes(rest.substr(0, step.used), delimiter);
    }
    if (step.found == CsvStep::Found::error) {
      must(step.what[0] != '\0');
      const std::size_t end = rest.find('\n', step.used);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    } else {
      must(step.used > 0);
      rest.remove_prefix(step.used);
    }
  }
  return 0;
}
