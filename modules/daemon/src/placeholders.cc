#include "placeholders.h"

#include <charconv>

namespace ebb::daemon {
namespace {

// A name is what may stand between the braces of a placeholder: awk's, JSON's and Go's braces never look so.
bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == ':' || c == '-';
}

// The name of the placeholder that begins at `text[at]` ('{'), or empty. A '?' may end it.
std::string_view name_at(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && is_name_char(text[end])) ++end;
  if (end < text.size() && text[end] == '?') ++end;
  if (end == at + 1 || end >= text.size() || text[end] != '}') return {};
  return text.substr(at + 1, end - at - 1);
}

Error lacking(std::string_view name, const std::string& where, std::string pointer, const std::string& lack) {
  return Error{.code = Errc::invalid,
               .message = "{" + std::string(name) + "} in " + where + ", but " + lack + " or --no-expand",
               .pointer = std::move(pointer),
               .type = "unknown-placeholder"};
}

// Why the job cannot fill in this known name; empty: it can, or the name is not ours.
std::string lack_of(std::string_view name, const model::JobSpec& spec) {
  if (name == "port") return spec.ports > 0 ? "" : "the job asks for no port; add --ports 1";
  if (name.starts_with("port:")) {
    const std::string_view digits = name.substr(5);
    int number = -1;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (failure != std::errc() || end != digits.data() + digits.size() || number < 0) return "";
    if (number < spec.ports) return "";
    return "the job asks for " + std::to_string(spec.ports) + (spec.ports == 1 ? " port" : " ports") +
           ", numbered from 0; add --ports " + std::to_string(number + 1);
  }
  if (name.starts_with("sidecar.") && name.ends_with(".url") && name.size() > 12) {
    return "the job has no sidecar of that name; add --sidecar " +
           std::string(name.substr(8, name.size() - 12)) + "=CMD";
  }
  return "";
}

}  // namespace

std::string replace_placeholders(std::string_view text, const PlaceholderValues& values) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '{') {
      const std::string_view name = name_at(text, at);
      if (!name.empty()) {
        if (const auto value = values(name)) {
          out += *value;
          at += name.size() + 2;
          continue;
        }
      }
    }
    out += text[at++];
  }
  return out;
}

void each_placeholder(std::string_view text, const std::function<void(std::string_view name)>& visit) {
  for (std::size_t at = text.find('{'); at != std::string_view::npos; at = text.find('{', at + 1)) {
    if (const std::string_view name = name_at(text, at); !name.empty()) visit(name);
  }
}

Result<void> check_placeholders(const model::JobSpec& spec) {
  if (!spec.expand) return {};
  std::optional<Error> problem;
  const auto check = [&](const std::string& text, const std::string& where, const std::string& pointer) {
    each_placeholder(text, [&](std::string_view name) {
      if (problem) return;
      if (const std::string lack = lack_of(name, spec); !lack.empty())
        problem = lacking(name, where, pointer, lack);
    });
  };
  for (std::size_t i = 0; i < spec.command.size(); ++i) {
    check(spec.command[i], "argument " + std::to_string(i), "/command/" + std::to_string(i));
  }
  for (const auto& [key, value] : spec.env) check(value, "--env " + key, "/env/" + key);
  if (problem) return std::move(*problem);
  return {};
}

}  // namespace ebb::daemon
