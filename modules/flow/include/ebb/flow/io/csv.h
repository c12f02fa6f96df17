#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ebb {

class Context;

struct CsvOptions {
  char delimiter = ',';
  bool header = true;                           ///< the first row names the columns
  std::size_t max_row = std::size_t{16} << 20;  ///< bytes, with its quotes; a longer one is an error
  std::size_t max_columns = 16384;              ///< more are an error
};

namespace flow {

class CsvHeader;

template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

}  // namespace flow

/// One row of a CSV file: its fields as text, by position (from 0) or by the name of their column. Copies are
/// independent; all rows of a file share its header.
///
/// Access to a column that is not there throws std::out_of_range; a field that is not what get<T>() asks for
/// throws std::runtime_error. Both say where.
class CsvRow {
 public:
  CsvRow() = default;

  [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
  /// Valid as long as the row.
  [[nodiscard]] std::string_view operator[](std::size_t column) const;
  [[nodiscard]] std::string_view operator[](std::string_view column) const { return (*this)[index(column)]; }

  /// The field as a number, a bool ("true", "false", "1", "0"), a std::string or std::string_view, or as a
  /// std::optional of these: nothing for an empty field. Numbers are written as in C++ ("-12", "2.5e3"),
  /// without blanks; one that T cannot hold is an error.
  template <typename T>
  [[nodiscard]] T get(std::size_t column) const;
  template <typename T>
  [[nodiscard]] T get(std::string_view column) const {
    return get<T>(index(column));
  }

  /// The names of the columns; none where the file has no header.
  [[nodiscard]] const std::vector<std::string>& columns() const noexcept;
  /// Where it begins in its file; the first line is 1.
  [[nodiscard]] std::uint64_t line() const noexcept { return line_; }

  // For the library.
  CsvRow(std::shared_ptr<const flow::CsvHeader> header, std::string text, std::vector<std::uint32_t> ends,
         std::uint64_t line);

 private:
  [[nodiscard]] std::size_t index(std::string_view column) const;
  [[nodiscard]] long long integer(std::size_t column, long long low, long long high) const;
  [[nodiscard]] unsigned long long natural(std::size_t column, unsigned long long high) const;
  [[nodiscard]] bool truth(std::size_t column) const;
  void real(std::size_t column, float& out) const;
  void real(std::size_t column, double& out) const;
  void real(std::size_t column, long double& out) const;
  [[noreturn]] void refuse(std::size_t column, const char* what) const;

  std::shared_ptr<const flow::CsvHeader> header_;
  std::string text_;                 // all fields, one behind the other
  std::vector<std::uint32_t> ends_;  // of each field in it
  std::uint64_t line_ = 0;
};

template <typename T>
T CsvRow::get(std::size_t column) const {
  if constexpr (flow::kIsOptional<T>) {
    if ((*this)[column].empty()) return std::nullopt;
    return get<typename T::value_type>(column);
  } else if constexpr (std::is_same_v<T, bool>) {
    return truth(column);
  } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    return static_cast<T>(integer(column, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(natural(column, std::numeric_limits<T>::max()));
  } else if constexpr (std::is_floating_point_v<T>) {
    T out{};
    real(column, out);
    return out;
  } else {
    static_assert(std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>,
                  "ebb: row.get<T>(column) gives a number, a bool, a std::string, a std::string_view or a "
                  "std::optional of these");
    return T((*this)[column]);
  }
}

namespace flow {

/// The rows of a CSV file as RFC 4180 has them: fields in quotes may hold delimiters, line breaks and,
/// doubled, quotes. Lines end in \n or \r\n; empty ones are left out, and so is a byte order mark. A row that
/// is none, or has another number of fields than the first, is a record that is in error: reading goes on at
/// the next line.
class CsvSource {
 public:
  static constexpr bool kGoesOn = true;  ///< behind a record that is in error

  /// Throws std::invalid_argument for a delimiter that cannot be one.
  CsvSource(std::string path, const CsvOptions& options);
  CsvSource(CsvSource&&) noexcept;
  CsvSource& operator=(CsvSource&&) noexcept;
  CsvSource(const CsvSource&) = delete;
  CsvSource& operator=(const CsvSource&) = delete;
  ~CsvSource();

  void open(Context& context);
  std::span<CsvRow> batch(std::size_t limit);
  void close();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace flow
}  // namespace ebb
