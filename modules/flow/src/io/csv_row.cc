#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <system_error>

#include "ebb/base/text.h"
#include "ebb/flow/io/csv.h"
#include "io/csv_header.h"

namespace ebb {

CsvRow::CsvRow(std::shared_ptr<const flow::CsvHeader> header, std::string text,
               std::vector<std::uint32_t> ends, std::uint64_t line)
    : header_(std::move(header)), text_(std::move(text)), ends_(std::move(ends)), line_(line) {}

std::string_view CsvRow::operator[](std::size_t column) const {
  if (column >= ends_.size()) {
    throw std::out_of_range(
        "ebb: " + (header_ ? header_->file() + ", line " + std::to_string(line_) : "a row") +
        ": there is no field " + std::to_string(column) + "; it has " + std::to_string(ends_.size()) +
        ", from 0 on");
  }
  const std::size_t begin = column == 0 ? 0 : ends_[column - 1];
  return std::string_view(text_).substr(begin, ends_[column] - begin);
}

const std::vector<std::string>& CsvRow::columns() const noexcept {
  static const std::vector<std::string> none;
  return header_ ? header_->names() : none;
}

std::size_t CsvRow::index(std::string_view column) const {
  if (!header_) throw std::out_of_range("ebb: this row is of no file, and has no columns");
  return header_->index(column);
}

void CsvRow::refuse(std::size_t column, const char* what) const {
  constexpr std::size_t kShown = 80;
  std::string text = printable((*this)[column].substr(0, kShown));
  if ((*this)[column].size() > kShown) text += "…";
  const std::string name =
      columns().empty() ? std::to_string(column) : '\'' + printable(columns()[column]) + '\'';
  throw std::runtime_error("ebb: " + header_->file() + ", line " + std::to_string(line_) + ", column " +
                           name + ": '" + text + "' is " + what);
}

namespace {

// What is wrong with the text, or null.
template <typename T>
const char* read_number(std::string_view text, T& out) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
  if (read.ec == std::errc::invalid_argument || read.ptr != text.data() + text.size()) return "no number";
  return read.ec == std::errc() ? nullptr : "out of the range of this type";
}
template <typename T>
const char* read_whole(std::string_view text, T& out) {
  const char* wrong = read_number(text, out);
  double real = 0;
  if (wrong != nullptr && read_number(text, real) == nullptr) {
    return std::string_view(wrong) == "no number" ? "no whole number of this type" : wrong;
  }
  return wrong;
}

}  // namespace

long long CsvRow::integer(std::size_t column, long long low, long long high) const {
  long long number = 0;
  const char* wrong = read_whole((*this)[column], number);
  if (wrong == nullptr && (number < low || number > high)) wrong = "out of the range of this type";
  if (wrong != nullptr) refuse(column, wrong);
  return number;
}

unsigned long long CsvRow::natural(std::size_t column, unsigned long long high) const {
  unsigned long long number = 0;
  const char* wrong = read_whole((*this)[column], number);
  if (wrong == nullptr && number > high) wrong = "out of the range of this type";
  if (wrong != nullptr) refuse(column, wrong);
  return number;
}

bool CsvRow::truth(std::size_t column) const {
  const std::string_view text = (*this)[column];
  if (text == "true" || text == "1") return true;
  if (text != "false" && text != "0") refuse(column, "neither true nor false");
  return false;
}

void CsvRow::real(std::size_t column, float& out) const {
  if (const char* wrong = read_number((*this)[column], out)) refuse(column, wrong);
}
void CsvRow::real(std::size_t column, double& out) const {
  if (const char* wrong = read_number((*this)[column], out)) refuse(column, wrong);
}
void CsvRow::real(std::size_t column, long double& out) const {
  if (const char* wrong = read_number((*this)[column], out)) refuse(column, wrong);
}

}  // namespace ebb
