#include "ebb/flow/io/sinks.h"

#include <array>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "ebb/flow/context.h"
#include "io/csv_parser.h"
#include "io/output_file.h"

namespace ebb {
namespace flow {
namespace {

// Sorted by name, parts stand in their order.
std::string part_of(const std::string& path, int replica, int replicas) {
  std::array<char, 40> suffix{};
  (void)std::snprintf(suffix.data(), suffix.size(), ".part-%05d-of-%05d", replica, replicas);
  return path + suffix.data();
}

template <typename T>
void append_as_text(std::string& out, T number) {
  std::array<char, 64> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), number);
  out.append(text.data(), written.ptr);
}

}  // namespace

FileSink::FileSink(std::string path, const char* maker) : path_(std::move(path)), maker_(maker) {}
FileSink::FileSink(const FileSink& other) : path_(other.path_), maker_(other.maker_) {}
FileSink::FileSink(FileSink&&) noexcept = default;
FileSink::~FileSink() = default;

void FileSink::open(Context& context) {
  const std::string path =
      context.replicas() == 1 ? path_ : part_of(path_, context.replica(), context.replicas());
  file_ = std::make_unique<OutputFile>(path, maker_, context);
}
void FileSink::finish() {
  // Before anybody commits: what the disk refuses now fails all parts.
  file_->flush();
}
void FileSink::commit() { file_->commit(); }
void FileSink::abort() noexcept { file_.reset(); }
std::string& FileSink::begin() { return file_->begin(); }
void FileSink::end() { file_->end(); }

void append(std::string& out, bool truth) { out += truth ? "true" : "false"; }
void append(std::string& out, char letter) { out += letter; }
void append(std::string& out, long long number) { append_as_text(out, number); }
void append(std::string& out, unsigned long long number) { append_as_text(out, number); }
void append(std::string& out, float number) { append_as_text(out, number); }
void append(std::string& out, double number) { append_as_text(out, number); }
void append(std::string& out, long double number) { append_as_text(out, number); }

// ---- CSV

CsvSink::CsvSink(std::string path, CsvSinkOptions options)
    : FileSink(std::move(path), "to_csv()"), options_(std::move(options)), expected_(options_.header.size()) {
  check_delimiter(options_.delimiter);
}

void CsvSink::open(Context& context) {
  FileSink::open(context);
  if (!options_.header.empty()) write_header(options_.header);
}

void CsvSink::begin_row() {
  out_ = &begin();
  row_at_ = out_->size();
  fields_ = 0;
}

void CsvSink::text(std::string_view value) {
  if (fields_++ > 0) *out_ += options_.delimiter;
  append_csv_field(*out_, value, options_.delimiter);
}

void CsvSink::end_row() {
  if (expected_ == 0) expected_ = fields_;
  if (fields_ != expected_ || fields_ == 0) {
    throw std::runtime_error("ebb: to_csv(): a row of " + std::to_string(fields_) +
                             " fields where the first has " + std::to_string(expected_));
  }
  if (out_->size() == row_at_) *out_ += "\"\"";  // an empty line is no row
  end();
}

void CsvSink::row(const CsvRow& row) {
  if (expected_ == 0 && !row.columns().empty()) write_header(row.columns());
  begin_row();
  for (std::size_t i = 0; i < row.size(); ++i) text(row[i]);
  end_row();
}

void CsvSink::write_header(const std::vector<std::string>& names) {
  begin_row();
  for (const std::string& name : names) text(name);
  end_row();
}

// ---- JSON

namespace {

void append_string(std::string& out, boost::json::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escaped{};
      (void)std::snprintf(escaped.data(), escaped.size(), "\\u%04x", static_cast<unsigned>(c));
      out += escaped.data();
    } else {
      out += c;
    }
  }
  out += '"';
}

// Boost's own serializer writes 2.5 as 2.5E0, and what is no number as NaN.
void append_value(std::string& out, const boost::json::value& value) {
  using boost::json::kind;
  switch (value.kind()) {
    case kind::null:
      out += "null";
      return;
    case kind::bool_:
      append(out, value.get_bool());
      return;
    case kind::int64:
      append_as_text(out, value.get_int64());
      return;
    case kind::uint64:
      append_as_text(out, value.get_uint64());
      return;
    case kind::double_:
      if (!std::isfinite(value.get_double())) {
        throw std::runtime_error("ebb: to_json_lines(): JSON has no numbers that are not finite");
      }
      append_as_text(out, value.get_double());
      return;
    case kind::string:
      append_string(out, value.get_string());
      return;
    case kind::array: {
      const char* between = "[";
      for (const auto& element : value.get_array()) {
        out += std::exchange(between, ",");
        append_value(out, element);
      }
      out += value.get_array().empty() ? "[]" : "]";
      return;
    }
    case kind::object: {
      const char* between = "{";
      for (const auto& member : value.get_object()) {
        out += std::exchange(between, ",");
        append_string(out, member.key());
        out += ':';
        append_value(out, member.value());
      }
      out += value.get_object().empty() ? "{}" : "}";
      return;
    }
  }
}

}  // namespace

void JsonSink::write(const boost::json::value& value) {
  append_value(begin(), value);
  end();
}

}  // namespace flow

flow::LinesSink to_lines(std::string path) { return {std::move(path), "to_lines()"}; }
flow::CsvSink to_csv(std::string path, CsvSinkOptions options) {
  return {std::move(path), std::move(options)};
}
flow::JsonSink to_json_lines(std::string path) { return {std::move(path), "to_json_lines()"}; }

}  // namespace ebb
