#include "io/csv_parser.h"

#include <optional>
#include <stdexcept>

namespace ebb::flow {
namespace {

// How long the line end at this place is: 0 where there is none, nothing where that cannot be told yet. A
// carriage return that nothing follows counts as one.
std::optional<std::size_t> line_end(std::string_view data, std::size_t at, bool last) {
  if (data[at] == '\n') return 1;
  if (data[at] != '\r') return 0;
  if (at + 1 < data.size()) return data[at + 1] == '\n' ? 2 : 0;
  if (last) return 1;
  return std::nullopt;
}

class RowParser {
 public:
  RowParser(std::string_view data, bool last, char delimiter, CsvFields& fields)
      : data_(data), last_(last), delimiter_(delimiter), fields_(fields) {
    fields.text.clear();
    fields.ends.clear();
  }

  CsvStep parse(std::size_t max_columns) {
    const auto empty = line_end(data_, 0, last_);
    if (!empty) return {};
    if (*empty > 0) return {CsvStep::Found::empty_line, *empty};
    for (;;) {
      const bool quoted = at_ < data_.size() && data_[at_] == '"';
      if (const auto step = quoted ? in_quotes() : plain()) return *step;
      fields_.ends.push_back(static_cast<std::uint32_t>(fields_.text.size()));
      if (fields_.ends.size() > max_columns) return error("more columns than max_columns allows");
      if (at_ == data_.size()) {
        if (!last_) return {};
        return {CsvStep::Found::row, at_};
      }
      if (data_[at_] == delimiter_) {
        ++at_;
        continue;
      }
      const auto end = line_end(data_, at_, last_);
      if (!end) return {};
      if (*end == 0) return error("text behind the closing quote of a field");
      return {CsvStep::Found::row, at_ + *end};
    }
  }

 private:
  [[nodiscard]] CsvStep error(const char* what) const { return {CsvStep::Found::error, at_, what}; }

  // Up to what follows the closing quote.
  std::optional<CsvStep> in_quotes() {
    const std::size_t begin = at_++;
    for (;;) {
      const std::size_t quote = data_.find('"', at_);
      if (quote == std::string_view::npos) {
        if (!last_) return CsvStep{};
        at_ = begin;
        return error("a quote that is never closed");
      }
      fields_.text.append(data_.substr(at_, quote - at_));
      at_ = quote + 1;
      if (at_ == data_.size() && !last_) return CsvStep{};
      if (at_ == data_.size() || data_[at_] != '"') return std::nullopt;
      fields_.text += '"';
      ++at_;
    }
  }
  // Up to the delimiter or the line end.
  std::optional<CsvStep> plain() {
    const std::size_t begin = at_;
    for (; at_ < data_.size(); ++at_) {
      const char c = data_[at_];
      if (c == delimiter_ || c == '\n') break;
      if (c == '"') return error("a quote within a field that does not begin with one");
      if (c == '\r') {
        const auto end = line_end(data_, at_, last_);
        if (!end) return CsvStep{};
        if (*end > 0) break;
      }
    }
    fields_.text.append(data_.substr(begin, at_ - begin));
    return std::nullopt;
  }

  std::string_view data_;
  bool last_;
  char delimiter_;
  CsvFields& fields_;
  std::size_t at_ = 0;
};

}  // namespace

CsvStep parse_csv_row(std::string_view data, bool last, char delimiter, std::size_t max_columns,
                      CsvFields& fields) {
  return RowParser(data, last, delimiter, fields).parse(max_columns);
}

void check_delimiter(char delimiter) {
  if (delimiter == '"' || delimiter == '\n' || delimiter == '\r' || delimiter == '\0') {
    throw std::invalid_argument("ebb: a quote, a line end or NUL cannot be the delimiter of a CSV file");
  }
}

void append_csv_field(std::string& out, std::string_view field, char delimiter) {
  const auto needs_quotes = [&](char c) { return c == delimiter || c == '"' || c == '\n' || c == '\r'; };
  bool quoted = false;
  for (const char c : field) quoted = quoted || needs_quotes(c);
  if (!quoted) {
    out += field;
    return;
  }
  out += '"';
  for (const char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

}  // namespace ebb::flow
