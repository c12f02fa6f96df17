#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ebb {

[[nodiscard]] bool is_utf8(std::string_view text);
/// Makes foreign text harmless on a terminal and in a log: control characters other than newline and tab
/// become '?', bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string printable(std::string_view text);
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);
/// Compares in time that depends on the lengths only.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b);
/// A word quoted as a POSIX shell would need it; unchanged where it needs no quotes.
[[nodiscard]] std::string shell_quoted(std::string_view word);

}  // namespace ebb
