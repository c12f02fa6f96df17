#include "ebb/process/wire.h"

#include <climits>

namespace ebb::process {

void WireWriter::number(std::uint64_t value) {
  while (value >= 0x80) {
    out_ += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out_ += static_cast<char>(value);
}

void WireWriter::signed_number(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  number((bits << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

void WireWriter::bytes(std::string_view value) {
  number(value.size());
  out_ += value;
}

void WireReader::fail() noexcept {
  ok_ = false;
  left_ = {};
}

std::uint64_t WireReader::number(std::uint64_t limit) noexcept {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (left_.empty()) break;
    const auto byte = static_cast<unsigned char>(left_.front());
    left_.remove_prefix(1);
    const std::uint64_t part = byte & 0x7fU;
    if (shift == 63 && part > 1) break;  // would not fit
    value |= part << shift;
    if ((byte & 0x80U) == 0) {
      // One value has one form, so that what is read back and written again is the same bytes.
      if (value > limit || (part == 0 && shift > 0)) break;
      return value;
    }
  }
  fail();
  return 0;
}

std::int64_t WireReader::signed_number() noexcept {
  const std::uint64_t bits = number();
  return static_cast<std::int64_t>((bits >> 1) ^ ((bits & 1) != 0 ? UINT64_MAX : 0));
}

int WireReader::small_number() noexcept {
  const std::int64_t value = signed_number();
  if (value >= INT_MIN && value <= INT_MAX) return static_cast<int>(value);
  fail();
  return 0;
}

std::string_view WireReader::bytes(std::uint64_t limit) noexcept {
  const std::uint64_t size = number(limit);
  if (size > left_.size()) {
    fail();
    return {};
  }
  const std::string_view value = left_.substr(0, static_cast<std::size_t>(size));
  left_.remove_prefix(static_cast<std::size_t>(size));
  return value;
}

std::size_t WireReader::count(std::uint64_t limit) noexcept {
  const std::uint64_t value = number(limit);
  if (value > left_.size()) {
    fail();
    return 0;
  }
  return static_cast<std::size_t>(value);
}

}  // namespace ebb::process
