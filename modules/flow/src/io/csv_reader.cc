#include "io/csv_reader.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "ebb/base/text.h"

namespace ebb::flow {
namespace {

constexpr std::size_t kTwice = std::numeric_limits<std::size_t>::max();
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::size_t kLongestRow = std::size_t{1} << 31;  // ends of fields are 32 bits wide

}  // namespace

CsvHeader::CsvHeader(std::string file, std::vector<std::string> names)
    : file_(std::move(file)), names_(std::move(names)) {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (const auto [place, added] = by_name_.emplace(names_[i], i); !added) place->second = kTwice;
  }
}

std::size_t CsvHeader::index(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found != by_name_.end() && found->second != kTwice) return found->second;
  std::string what = "ebb: " + file_ + ": ";
  if (names_.empty()) {
    what += "its columns have no names; use their numbers, from 0 on";
  } else if (found != by_name_.end()) {
    what += "several columns have the name '" + printable(name) + "'; use their numbers, from 0 on";
  } else {
    what += "there is no column '" + printable(name) + "'; there are";
    for (const std::string& one : names_) what += " '" + printable(one) + "'";
  }
  throw std::out_of_range(what);
}

CsvReader::CsvReader(std::string file, const CsvOptions& options)
    : file_(std::move(file)), options_(options) {
  options_.max_row = std::min(options_.max_row, kLongestRow);
}

bool CsvReader::at_hand() {
  if (!ready_) ready_ = advance();
  return ready_;
}

bool CsvReader::next(Input& input, CsvRow& row) {
  if (!header_ && !read_header(input)) return false;
  if (!read(input)) return false;
  if (expected_ == 0) expect_fields();
  if (fields_.ends.size() != expected_) {
    refuse(row_at_, std::to_string(fields_.ends.size()) + " fields where line " +
                        std::to_string(expected_at_) + " has " + std::to_string(expected_));
  }
  row = CsvRow(header_, fields_.text, fields_.ends, row_at_);
  return true;
}

// Into fields_.
bool CsvReader::read(Input& input) {
  while (!at_hand()) {
    if (at_end_) return false;
    if (window_.fill(input)) continue;
    if (input.stopped()) return false;
    at_end_ = true;
  }
  ready_ = false;
  return true;
}

// The next row that stands in the window; false where none does.
bool CsvReader::advance() {
  for (;;) {
    if (skipping_) skip_line();
    if (window_.data().empty() || !begin()) return false;
    const CsvStep step =
        parse_csv_row(window_.data(), at_end_, options_.delimiter, options_.max_columns, fields_);
    const bool partial = step.found == CsvStep::Found::partial;
    const std::size_t length = partial ? window_.data().size() : step.used;
    row_at_ = line_;
    if (partial && length <= options_.max_row) return false;
    use(length);
    if (length > options_.max_row) {
      skipping_ = partial || step.found == CsvStep::Found::error;
      refuse(row_at_,
             "a row of more than " + std::to_string(options_.max_row) + " bytes; max_row allows more");
    }
    if (step.found == CsvStep::Found::row) return true;
    if (step.found == CsvStep::Found::error) {
      skipping_ = true;
      refuse(line_, step.what);
    }
  }
}

void CsvReader::use(std::size_t bytes) {
  const std::string_view used = window_.data().substr(0, bytes);
  line_ += static_cast<std::uint64_t>(std::count(used.begin(), used.end(), '\n'));
  window_.skip(bytes);
}

// Uses up the rest of a line that is in error, as far as it is there.
void CsvReader::skip_line() {
  const std::size_t end = window_.data().find('\n');
  skipping_ = end == std::string_view::npos;
  use(skipping_ ? window_.data().size() : end + 1);
}

// Leaves out a byte order mark; false while it cannot be told whether there is one.
bool CsvReader::begin() {
  if (begun_) return true;
  if (window_.data().size() < kByteOrderMark.size() && !at_end_) return false;
  if (window_.data().starts_with(kByteOrderMark)) window_.skip(kByteOrderMark.size());
  begun_ = true;
  return !window_.data().empty();
}

// False where the file ends before it has one.
bool CsvReader::read_header(Input& input) {
  std::vector<std::string> names;
  if (options_.header) {
    try {
      if (!read(input)) return false;
    } catch (const std::runtime_error& error) {
      throw IoError(error.what());
    }
    expect_fields();
    std::size_t begin = 0;
    for (const std::uint32_t end : fields_.ends) {
      names.push_back(fields_.text.substr(begin, end - begin));
      begin = end;
    }
  }
  header_ = std::make_shared<const CsvHeader>(file_, std::move(names));
  return true;
}

void CsvReader::expect_fields() {
  expected_ = fields_.ends.size();
  expected_at_ = row_at_;
}

void CsvReader::refuse(std::uint64_t line, const std::string& what) const {
  throw std::runtime_error("ebb: " + file_ + ", line " + std::to_string(line) + ": " + what);
}

}  // namespace ebb::flow
