#include "ebb/client/placeholders.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace ebb::client {
namespace {

Error usage(std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

constexpr std::string_view kPrefix = "sidecar.";
constexpr std::string_view kSuffix = ".url";

// The NAME of "sidecar.NAME.url"; nothing for anything else, which then is no placeholder of ours.
std::optional<std::string> sidecar_name(std::string_view placeholder) {
  if (!placeholder.starts_with(kPrefix) || !placeholder.ends_with(kSuffix)) return std::nullopt;
  if (placeholder.size() <= kPrefix.size() + kSuffix.size()) return std::nullopt;
  return std::string(
      placeholder.substr(kPrefix.size(), placeholder.size() - kPrefix.size() - kSuffix.size()));
}

// "port:2"
bool is_port_number(std::string_view placeholder) {
  constexpr std::string_view kPort = "port:";
  return placeholder.starts_with(kPort) && placeholder.size() > kPort.size() &&
         std::ranges::all_of(placeholder.substr(kPort.size()), [](char c) { return c >= '0' && c <= '9'; });
}

// Calls `replace` with what stands between each '{' and the next '}' without a brace between them; where it
// gives nothing, the bytes stay.
using Replace = std::function<Result<std::optional<std::string>>(std::string_view)>;
Result<std::string> replace_braced(std::string_view text, const Replace& replace) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  while (at < text.size()) {
    const auto open = text.find('{', at);
    if (open == std::string_view::npos) break;
    out += text.substr(at, open - at);
    const auto close = text.find_first_of("{}", open + 1);
    if (close == std::string_view::npos || text[close] == '{') {
      out += '{';
      at = open + 1;
      continue;
    }
    auto replacement = replace(text.substr(open + 1, close - open - 1));
    if (!replacement) return replacement.error();
    if (*replacement) {
      out += **replacement;
    } else {
      out += text.substr(open, close + 1 - open);
    }
    at = close + 1;
  }
  out += text.substr(std::min(at, text.size()));
  return out;
}

Result<std::optional<std::string>> url_of(const std::string& name, const SidecarUrls& urls,
                                          std::string_view where) {
  const auto found = urls.find(name);
  if (found != urls.end()) return std::optional(found->second);
  return usage("{sidecar." + name + ".url} in " + std::string(where) + ", but there is no --sidecar " + name +
               "=…; add it or --no-expand");
}

}  // namespace

Result<std::string> replace_sidecar_urls(std::string_view text, const SidecarUrls& urls,
                                         std::string_view where) {
  return replace_braced(text, [&](std::string_view name) -> Result<std::optional<std::string>> {
    const auto sidecar = sidecar_name(name);
    if (!sidecar) return std::optional<std::string>();
    return url_of(*sidecar, urls, where);
  });
}

Result<std::string> expand_sidecar_command(std::string_view text, const std::string& name, int port,
                                           const std::string& workdir, const SidecarUrls& urls) {
  const std::string where = "--sidecar " + name;
  return replace_braced(text, [&](std::string_view placeholder) -> Result<std::optional<std::string>> {
    if (placeholder == "port") return std::optional(std::to_string(port));
    if (placeholder == "workdir") return std::optional(workdir);
    if (const auto sidecar = sidecar_name(placeholder)) return url_of(*sidecar, urls, where);
    if (placeholder == "job_id" || placeholder == "gpus" || placeholder == "scratch" ||
        is_port_number(placeholder)) {
      return usage("{" + std::string(placeholder) + "} in " + where +
                   ": a side process starts before the job, so it has only {port}, {workdir} and "
                   "{sidecar.NAME.url}; --no-expand leaves braces alone");
    }
    return std::optional<std::string>();
  });
}

}  // namespace ebb::client
