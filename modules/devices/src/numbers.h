#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace ebb::devices {

/// The whole of `text` as a decimal number, or nothing.
template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace ebb::devices
