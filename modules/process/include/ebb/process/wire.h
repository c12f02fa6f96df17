#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ebb::process {

/// Writes the binary form that keeper messages, launch specs and end records share: little-endian varints
/// (seven bits a byte), and strings as length and bytes.
class WireWriter {
 public:
  void number(std::uint64_t value);
  void signed_number(std::int64_t value);  ///< zigzag, so that small negative values stay short
  void boolean(bool value) { number(value ? 1 : 0); }
  void bytes(std::string_view value);
  /// Whether it is there, then `write(value)` where it is.
  template <typename T, typename Write>
  void optional(const std::optional<T>& value, Write write) {
    boolean(value.has_value());
    if (value) write(*value);
  }

  [[nodiscard]] std::string take() noexcept { return std::move(out_); }

 private:
  std::string out_;
};

/// Reads what WireWriter wrote. It never reads past the end: the first value that is cut off or too large
/// makes the reader fail for good, and from then on it yields zeros and empty strings. Callers read
/// everything, then ask complete() once. Views point into the input.
class WireReader {
 public:
  explicit WireReader(std::string_view data) noexcept : left_(data) {}

  [[nodiscard]] std::uint64_t number(std::uint64_t limit = UINT64_MAX) noexcept;
  [[nodiscard]] std::int64_t signed_number() noexcept;
  [[nodiscard]] int small_number() noexcept;  ///< a signed number that fits
  [[nodiscard]] bool boolean() noexcept { return number(1) != 0; }
  [[nodiscard]] std::string_view bytes(std::uint64_t limit) noexcept;
  /// The number of elements that follow. Each takes at least one byte, so a count that cannot be true fails
  /// here, before anybody reserves memory for it.
  [[nodiscard]] std::size_t count(std::uint64_t limit) noexcept;
  /// What `read()` yields, where WireWriter::optional() had a value.
  template <typename Read>
  [[nodiscard]] auto optional(Read read) -> std::optional<decltype(read())> {
    if (!boolean()) return std::nullopt;
    return read();
  }

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  /// Nothing failed and nothing is left over.
  [[nodiscard]] bool complete() const noexcept { return ok_ && left_.empty(); }

 private:
  void fail() noexcept;

  std::string_view left_;
  bool ok_ = true;
};

}  // namespace ebb::process
