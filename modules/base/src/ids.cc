#include "ebb/base/ids.h"

#include <sys/random.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>

namespace ebb {
namespace {
constexpr char kHex[] = "0123456789abcdef";
}

std::optional<JobId> JobId::parse(std::string_view text) {
  if (text.size() != 8) return std::nullopt;
  std::uint32_t value = 0;
  for (const char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = unsigned(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = unsigned(c - 'a') + 10;
    } else {
      return std::nullopt;
    }
    value = value << 4 | digit;
  }
  return JobId(value);
}

JobId JobId::random() {
  std::uint32_t value = 0;
  random_bytes(&value, sizeof value);
  return JobId(value);
}

std::string JobId::str() const {
  std::string text(8, '0');
  for (unsigned i = 0; i < 8; ++i) text[i] = kHex[value_ >> (28 - 4 * i) & 0xf];
  return text;
}

std::optional<AttemptId> AttemptId::parse(std::string_view text) {
  if (text.size() < 10 || text[8] != '.') return std::nullopt;
  const auto job = JobId::parse(text.substr(0, 8));
  if (!job || text[9] < '1' || text[9] > '9') return std::nullopt;
  std::uint32_t number = 0;
  const auto [end, failure] = std::from_chars(text.data() + 9, text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return AttemptId{*job, number};
}

std::string AttemptId::str() const { return job.str() + "." + std::to_string(number); }

void random_bytes(void* data, std::size_t size) {
  auto* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = getrandom(at, size, 0);
    if (got < 0 && errno != EINTR) std::abort();
    if (got > 0) {
      at += got;
      size -= static_cast<std::size_t>(got);
    }
  }
}

std::string random_hex(std::size_t bytes) {
  std::string raw(bytes, '\0');
  random_bytes(raw.data(), raw.size());
  std::string text;
  text.reserve(2 * bytes);
  for (const char c : raw) {
    const auto byte = static_cast<unsigned char>(c);
    text += kHex[byte >> 4];
    text += kHex[byte & 0xf];
  }
  return text;
}

}  // namespace ebb
