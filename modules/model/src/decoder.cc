#include "decoder.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <numeric>

#include "ebb/base/text.h"

namespace ebb::model {
namespace {

using boost::json::kind;
using boost::json::value;

// What a person calls this value: "2.5", "\"two\"", "a list".
std::string shown(const value& got) {
  switch (got.kind()) {
    case kind::array:
      return "a list";
    case kind::object:
      return "an object";
    case kind::string:
      return "\"" + quoted_for_message(std::string_view(got.get_string())) + "\"";
    case kind::double_: {  // the serializer would write 2.5E0
      char text[32];
      const auto written = std::to_chars(std::begin(text), std::end(text), got.get_double());
      return {text, written.ptr};
    }
    default:
      return boost::json::serialize(got);
  }
}

// Levenshtein's distance: how many letters a person would have to change.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

// The name that was probably meant, or nothing.
std::string_view nearest(std::string_view wrong, std::span<const std::string_view> names) {
  constexpr std::size_t kLongest = 32;  // a longer word is no slip of the finger
  if (wrong.size() > kLongest) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, wrong.size() / 3) + 1;
  for (const std::string_view name : names) {
    const std::size_t d = distance(wrong, name);
    const bool begins = wrong.size() >= 3 && name.starts_with(wrong);
    if (d < best_distance || (begins && best.empty())) {
      best = name;
      best_distance = std::min(d, best_distance);
    }
  }
  return best;
}

}  // namespace

void append_pointer(std::string& pointer, std::string_view token) {
  pointer += '/';
  for (const char c : token) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer += c;
    }
  }
}

std::string quoted_for_message(std::string_view text) {
  constexpr std::size_t kShown = 60;
  if (text.size() <= kShown) return printable(text);
  std::size_t cut = kShown;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;  // not within a character
  return printable(text.substr(0, cut)) + "…";
}

std::string Decoder::pointer() const {
  std::string text;
  for (const Step& step : path_) {
    append_pointer(text, step.key.data() != nullptr ? std::string(step.key) : std::to_string(step.index));
  }
  return text;
}

std::string Decoder::place() const {
  std::string text;
  for (const Step& step : path_) {
    if (step.key.data() == nullptr) {
      text += "[" + std::to_string(step.index) + "]";
    } else {
      if (!text.empty()) text += '.';
      text += quoted_for_message(step.key);
    }
  }
  return text.empty() ? "the JSON text" : text;
}

bool Decoder::fail(std::string message, std::string_view type) {
  error_ = {
      .code = Errc::invalid, .message = std::move(message), .pointer = pointer(), .type = std::string(type)};
  return false;
}

bool Decoder::refuse(std::string_view requirement, const value& got) {
  // What stands in these may be a secret, and an answer may be logged.
  const std::string_view field = path_.empty() ? std::string_view() : path_.front().key;
  const bool secret = got.is_string() && (field == "env" || field == "api_key");
  return fail(place() + " must be " + std::string(requirement) + ", not " + (secret ? "a text" : shown(got)));
}

bool Decoder::missing() { return fail(place() + " is missing"); }

bool Decoder::read_bool(const value& value, bool& out) {
  if (!value.is_bool()) return refuse("true or false", value);
  out = value.get_bool();
  return true;
}

bool Decoder::read_integer(const value& value, std::int64_t least, std::int64_t most, std::int64_t& out) {
  constexpr double kExact = 9007199254740992.0;  // 2^53: up to here a double holds every whole number
  if (value.is_int64()) {
    out = value.get_int64();
  } else if (value.is_double() && std::abs(value.get_double()) <= kExact &&
             std::trunc(value.get_double()) == value.get_double()) {
    out = static_cast<std::int64_t>(value.get_double());  // 2.0 is a whole number; some encoders write it so
  } else if (value.is_uint64()) {
    return fail(place() + " is out of range: " + shown(value));
  } else {
    return refuse("a whole number", value);
  }
  if (out < least || out > most) return fail(place() + " is out of range: " + shown(value));
  return true;
}

bool Decoder::read_number(const value& value, double& out) {
  if (value.is_double()) {
    out = value.get_double();
  } else if (value.is_int64()) {
    out = static_cast<double>(value.get_int64());
  } else if (value.is_uint64()) {
    out = static_cast<double>(value.get_uint64());
  } else {
    return refuse("a number", value);
  }
  if (!std::isfinite(out)) return fail(place() + " is out of range");
  return true;
}

bool Decoder::read_string(const value& value, std::string& out) {
  if (!value.is_string()) return refuse("a string", value);
  out.assign(value.get_string().data(), value.get_string().size());
  return true;
}

bool Decoder::read_time(const value& value, WallTime& out) {
  const auto time = value.is_string() ? parse_time(std::string_view(value.get_string())) : std::nullopt;
  if (!time) return refuse("a time such as 2026-11-23T22:59:38Z", value);
  out = *time;
  return true;
}

bool Decoder::read_job_id(const value& value, JobId& out) {
  const auto id = value.is_string() ? JobId::parse(std::string_view(value.get_string())) : std::nullopt;
  if (!id) return refuse("a job id (8 lower-case hex digits)", value);
  out = *id;
  return true;
}

bool Decoder::read_name(const value& value, std::span<const std::string_view> names, std::size_t& out) {
  if (value.is_string()) {
    const auto found = std::ranges::find(names, std::string_view(value.get_string()));
    if (found != names.end()) {
      out = static_cast<std::size_t>(found - names.begin());
      return true;
    }
  }
  std::string all = "one of";
  for (const std::string_view name : names) all += " " + std::string(name);
  return refuse(all, value);
}

const boost::json::array* Decoder::read_array(const value& value) {
  if (!value.is_array()) refuse("a list", value);
  return value.if_array();
}

const boost::json::object* Decoder::read_object(const value& value) {
  if (!value.is_object()) refuse("an object", value);
  return value.if_object();
}

bool Decoder::check_members(const boost::json::object& object, std::span<const std::string_view> names) {
  if (unknown_ == UnknownMembers::ignore) return true;
  for (const auto& member : object) {
    const std::string_view key(member.key());
    if (std::ranges::find(names, key) != names.end()) continue;
    enter(key);
    std::string message = "unknown field \"" + quoted_for_message(key) + "\"";
    if (const std::string_view meant = nearest(key, names); !meant.empty()) {
      message += "; did you mean \"" + std::string(meant) + "\"?";
    }
    return fail(std::move(message), "unknown-field");
  }
  return true;
}

}  // namespace ebb::model
