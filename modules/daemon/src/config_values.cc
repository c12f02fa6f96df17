#include <algorithm>
#include <cstdio>

#include "config_fields.h"
#include "ebb/base/text.h"

namespace ebb::daemon {
namespace {

// Levenshtein's distance; keys are short.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", unsigned{byte});
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string toml_strings(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const std::string& word : words) {
    if (out.size() > 1) out += ", ";
    out += toml_string(word);
  }
  return out + "]";
}

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date or time";
  }
}

Error config_error(std::string message) {
  return Error{.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = "bad-config"};
}

Error config_error_at(const std::string& file, const toml::node& node, const std::string& key,
                      const std::string& message) {
  return config_error(file + ":" + std::to_string(node.source().begin.line) + ": " + key + ": " + message);
}

Error unknown_key(const std::string& file, const toml::key& key, const std::string& path,
                  const std::vector<std::string>& known) {
  std::string message =
      file + ":" + std::to_string(key.source().begin.line) + ": " + printable(path) + ": unknown key";
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
    return distance(a, key.str()) < distance(b, key.str());
  });
  if (nearest != known.end() && distance(*nearest, key.str()) <= 2) {
    message += "; did you mean '" + *nearest + "'?";
  } else {
    message += "; 'ebb config print' lists all";
  }
  return config_error(std::move(message));
}

Result<std::string> read_string(const toml::node& node) {
  const auto* text = node.as_string();
  if (text == nullptr) return config_error("must be a string, not " + std::string(type_name(node)));
  if (text->get().find('\0') != std::string::npos) return config_error("must not contain a NUL byte");
  return text->get();
}

Result<std::vector<std::string>> read_strings(const toml::node& node) {
  const auto* array = node.as_array();
  if (array == nullptr)
    return config_error("must be an array of strings, not " + std::string(type_name(node)));
  std::vector<std::string> words;
  for (const toml::node& item : *array) {
    auto word = read_string(item);
    if (!word)
      return config_error("element " + std::to_string(words.size() + 1) + " " + word.error().message);
    words.push_back(std::move(*word));
  }
  return words;
}

Result<std::int64_t> read_integer(const toml::node& node, std::int64_t min, std::int64_t max) {
  const auto* number = node.as_integer();
  if (number == nullptr) return config_error("must be an integer, not " + std::string(type_name(node)));
  const std::int64_t value = number->get();
  if (value < min || value > max) {
    return config_error(std::to_string(value) + " is out of range; " + std::to_string(min) + " to " +
                        std::to_string(max));
  }
  return value;
}

}  // namespace ebb::daemon
