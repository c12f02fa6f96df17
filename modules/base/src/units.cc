#include "ebb/base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace ebb {
namespace {

using namespace std::chrono_literals;

struct DurationUnit {
  std::string_view name;
  double micros;
};
constexpr std::array kDurationUnits = {
    DurationUnit{"us", 1},     DurationUnit{"ms", 1e3},   DurationUnit{"s", 1e6},     DurationUnit{"m", 60e6},
    DurationUnit{"min", 60e6}, DurationUnit{"h", 3600e6}, DurationUnit{"d", 86400e6},
};
// A hundred years; past it a deadline's arithmetic could overflow.
constexpr double kLongestMicros = 100.0 * 365.25 * 86400e6;

struct SizeUnit {
  std::string_view name;
  double bytes;
};
constexpr double kKi = 1024;
constexpr std::array kSizeUnits = {
    SizeUnit{"", 1},
    SizeUnit{"B", 1},
    SizeUnit{"kB", 1e3},
    SizeUnit{"KB", 1e3},
    SizeUnit{"MB", 1e6},
    SizeUnit{"GB", 1e9},
    SizeUnit{"TB", 1e12},
    SizeUnit{"K", kKi},
    SizeUnit{"KiB", kKi},
    SizeUnit{"M", kKi* kKi},
    SizeUnit{"MiB", kKi* kKi},
    SizeUnit{"G", kKi* kKi* kKi},
    SizeUnit{"GiB", kKi* kKi* kKi},
    SizeUnit{"T", kKi* kKi* kKi* kKi},
    SizeUnit{"TiB", kKi* kKi* kKi* kKi},
};

Error invalid(std::string message) {
  return Error{.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 80)) + "'"; }

// Takes a plain decimal number ("1", "1.5") off the front of `text`; false where there is none. No sign, no
// exponent, no "inf".
bool take_number(std::string_view& text, double& value) {
  std::size_t length = 0;
  bool digit = false;
  for (bool dot = false; length < text.size(); ++length) {
    if (text[length] >= '0' && text[length] <= '9') {
      digit = true;
    } else if (text[length] == '.' && !dot) {
      dot = true;
    } else {
      break;
    }
  }
  if (!digit) return false;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + length, value);
  if (failure != std::errc() || end != text.data() + length) return false;
  text.remove_prefix(length);
  return true;
}

void skip_spaces(std::string_view& text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
}

std::string_view take_word(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() &&
         ((text[length] >= 'a' && text[length] <= 'z') || (text[length] >= 'A' && text[length] <= 'Z'))) {
    ++length;
  }
  const std::string_view word = text.substr(0, length);
  text.remove_prefix(length);
  return word;
}

// "2.50" → "2.5", "2.00" → "2".
std::string short_number(double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
  std::string text = buffer;
  if (text.find('.') != std::string::npos) {
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const std::string_view whole = text;
  if (whole == "0") return Duration(0);
  const auto failure = [&] {
    return invalid(quoted(whole) + " is no duration; write for example 500ms, 10s, 5min, 1h30min, 2d");
  };
  double total = 0;
  bool any = false;
  for (skip_spaces(text); !text.empty(); skip_spaces(text)) {
    double number = 0;
    if (!take_number(text, number)) return failure();
    skip_spaces(text);
    const std::string_view unit = take_word(text);
    bool known = false;
    for (const auto& [name, micros] : kDurationUnits) {
      if (unit == name) {
        total += number * micros;
        known = true;
      }
    }
    if (!known) return failure();
    any = true;
  }
  if (!any) return failure();
  if (total > kLongestMicros) return invalid(quoted(whole) + " is too long; at most 100 years");
  return Duration(static_cast<Duration::rep>(std::llround(total)));
}

Result<std::int64_t> parse_size(std::string_view text) {
  const std::string_view whole = text;
  double number = 0;
  skip_spaces(text);
  if (take_number(text, number)) {
    skip_spaces(text);
    const std::string_view unit = take_word(text);
    for (const auto& [name, bytes] : kSizeUnits) {
      if (unit == name && text.empty()) {
        if (number * bytes >= 9.2e18) return invalid(quoted(whole) + " is too large");
        return static_cast<std::int64_t>(std::llround(number * bytes));
      }
    }
  }
  return invalid(quoted(whole) + " is no size; write for example 512MiB, 2GiB, 10GB");
}

std::string format_duration(Duration duration) {
  const double micros = double(duration.count());
  if (micros < 0) return "-" + format_duration(-duration);
  if (micros < 1e3) return short_number(micros) + " us";
  if (micros < 1e6) return short_number(micros / 1e3) + " ms";
  if (micros < 60e6) return short_number(micros / 1e6) + " s";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  const auto join = [](std::int64_t big, const char* big_unit, std::int64_t small, const char* small_unit) {
    std::string out = std::to_string(big) + " " + big_unit;
    if (small != 0) out += " " + std::to_string(small) + " " + small_unit;
    return out;
  };
  if (seconds < 3600) return join(seconds / 60, "min", seconds % 60, "s");
  if (seconds < 86400) return join(seconds / 3600, "h", seconds % 3600 / 60, "min");
  return join(seconds / 86400, "d", seconds % 86400 / 3600, "h");
}

std::string write_duration(Duration duration) {
  if (duration % 1s == 0s) return std::to_string(duration / 1s) + "s";
  if (duration % 1ms == 0s) return std::to_string(duration / 1ms) + "ms";
  return std::to_string(duration.count()) + "us";
}

std::string format_size(std::int64_t bytes) {
  // Only units that parse_size() knows.
  constexpr std::array kNames = {" B", " KiB", " MiB", " GiB", " TiB"};
  double value = double(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return short_number(value) + kNames[unit];
}

}  // namespace ebb
