#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/flow/io/csv.h"
#include "ebb/flow/io/json.h"

namespace ebb {

namespace flow {

template <typename T>
inline constexpr bool kNever = false;

// The sinks' operators give auto, which is void: then the compiler looks into them, and says what is wrong,
// where a stream is given to them.

class OutputFile;

/// A text file that appears under its name when the whole pipeline has ended well. Until then it is written
/// under a temporary name in the same folder; after a failure or a cancel it is removed, and what stood under
/// the name stays as it was. Each replica of n > 1 writes a file of its own, `PATH.part-00000-of-00003`.
///
/// What the operating system refuses (no space, no permission) fails the pipeline, whatever the error policy
/// says. A copy has no file until its open().
class FileSink {
 public:
  FileSink(std::string path, const char* maker);
  FileSink(const FileSink& other);
  FileSink(FileSink&&) noexcept;
  FileSink& operator=(const FileSink&) = delete;
  FileSink& operator=(FileSink&&) = delete;
  /// Removes what was neither committed nor aborted.
  ~FileSink();

  void open(Context& context);
  void finish();
  void commit();
  void abort() noexcept;

 protected:
  /// Where the next record is put together: behind what is there. It counts once end() is called.
  std::string& begin();
  void end();

 private:
  std::string path_;
  const char* maker_;
  std::unique_ptr<OutputFile> file_;
};

void append(std::string& out, bool truth);
void append(std::string& out, char letter);
void append(std::string& out, long long number);
void append(std::string& out, unsigned long long number);
void append(std::string& out, float number);
void append(std::string& out, double number);
void append(std::string& out, long double number);
/// A number, so that it reads back as the same one.
template <typename T>
  requires std::is_arithmetic_v<T>
void append_number(std::string& out, T number) {
  if constexpr (std::same_as<T, bool> || std::same_as<T, char> || std::floating_point<T>) {
    append(out, number);
  } else if constexpr (std::is_signed_v<T>) {
    append(out, static_cast<long long>(number));
  } else {
    append(out, static_cast<unsigned long long>(number));
  }
}

class LinesSink : public FileSink {
 public:
  using FileSink::FileSink;

  template <typename T>
  auto operator()(const T& record) {
    std::string& line = begin();
    if constexpr (std::convertible_to<const T&, std::string_view>) {
      line += std::string_view(record);
    } else if constexpr (std::is_arithmetic_v<T>) {
      append_number(line, record);
    } else {
      static_assert(kNever<T>, "ebb: to_lines() writes strings and numbers: map() the records to text first");
    }
    end();
  }
};

}  // namespace flow

struct CsvSinkOptions {
  char delimiter = ',';
  std::vector<std::string> header = {};  ///< the first row; without it that of the CsvRows, if they have one
};

namespace flow {

template <typename T>
concept TupleLike = requires { std::tuple_size<T>::value; };
template <typename T>
concept Fields = requires(const T& range) {
  std::begin(range) != std::end(range);
  *std::begin(range);
};

class CsvSink : public FileSink {
 public:
  /// Throws std::invalid_argument for a delimiter that cannot be one.
  CsvSink(std::string path, CsvSinkOptions options);

  void open(Context& context);
  template <typename T>
  auto operator()(const T& record) {
    if constexpr (std::same_as<T, CsvRow>) {
      row(record);
    } else {
      begin_row();
      if constexpr (std::convertible_to<const T&, std::string_view> || std::is_arithmetic_v<T>) {
        field(record);
      } else if constexpr (TupleLike<T>) {
        std::apply([&](const auto&... fields) { (field(fields), ...); }, record);
      } else if constexpr (Fields<T>) {
        for (const auto& one : record) field(one);
      } else {
        static_assert(kNever<T>,
                      "ebb: to_csv() writes tuples, pairs, ranges and CsvRows of strings and numbers: map() "
                      "the records to one of these first");
      }
      end_row();
    }
  }

 private:
  template <typename T>
  void field(const T& value) {
    if constexpr (kIsOptional<T>) {
      if (value) {
        field(*value);
      } else {
        text({});
      }
    } else if constexpr (std::convertible_to<const T&, std::string_view>) {
      text(std::string_view(value));
    } else if constexpr (std::is_arithmetic_v<T>) {
      scratch_.clear();
      append_number(scratch_, value);
      text(scratch_);
    } else {
      static_assert(kNever<T>, "ebb: a field of a CSV row is a string, a number or a std::optional of these");
    }
  }
  void begin_row();
  void text(std::string_view value);
  void end_row();
  void row(const CsvRow& row);
  void write_header(const std::vector<std::string>& names);

  CsvSinkOptions options_;
  std::string scratch_;
  std::string* out_ = nullptr;
  std::size_t row_at_ = 0;
  std::size_t fields_ = 0;    // of this row so far
  std::size_t expected_ = 0;  // of each row; 0: the first one says
};

/// Boost's storage_ptr, as a type that is looked up where it is used: then <boost/json.hpp> is there.
template <typename>
struct JsonStorage {
  using Type = boost::json::storage_ptr;
};

class JsonSink : public FileSink {
 public:
  using FileSink::FileSink;

  template <typename T>
  auto operator()(const T& record) {
    if constexpr (std::same_as<T, boost::json::value>) {
      write(record);
    } else {
      static_assert(kIsComplete<typename JsonStorage<T>::Type>,
                    "ebb: to_json_lines() needs #include <boost/json.hpp>");
      if constexpr (kIsComplete<typename JsonStorage<T>::Type>) {
        write(value_from(record, typename JsonStorage<T>::Type()));  // Boost's, found by its argument
      }
    }
  }

 private:
  void write(const boost::json::value& value);
};

}  // namespace flow

// Sinks: `.sink(ebb::to_lines("out.txt"))`. Their files appear when the pipeline has ended well, whole, or
// not at all.

/// One line for each record: strings as they are, numbers.
[[nodiscard]] flow::LinesSink to_lines(std::string path);
/// One row for each record: a tuple, a pair, a range or a CsvRow of strings, numbers and optionals of them.
/// A row with another number of fields than the header, or than the first row, is an error.
[[nodiscard]] flow::CsvSink to_csv(std::string path, CsvSinkOptions options = {});
/// One line of JSON for each record: a boost::json::value, or what boost::json::value_from takes.
[[nodiscard]] flow::JsonSink to_json_lines(std::string path);

}  // namespace ebb
