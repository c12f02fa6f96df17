#include "gate.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <array>

namespace ebb::server {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// The unspecified address, to which the original's client connects, is this machine too. No name can be made
// to mean it, so that it opens nothing to DNS rebinding.
bool loopback_name(const std::string& host) {
  in_addr address{};
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1) {
    return (ntohl(address.s_addr) >> 24) == 127 || address.s_addr == INADDR_ANY;
  }
  return host == "localhost" || host == "::1" || host == "::";
}

std::string machine_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? lower(name.data()) : std::string();
}

}  // namespace

std::optional<std::string_view> bearer_key(std::string_view authorization) {
  std::array<std::string_view, 2> words;
  std::size_t count = 0;
  for (std::size_t at = 0; at < authorization.size();) {
    const std::size_t begin = authorization.find_first_not_of(" \t", at);
    if (begin == std::string_view::npos) break;
    const std::size_t end = std::min(authorization.find_first_of(" \t", begin), authorization.size());
    if (count == words.size()) return std::nullopt;
    words[count++] = authorization.substr(begin, end - begin);
    at = end;
  }
  if (count != 2 || lower(words[0]) != "bearer") return std::nullopt;
  return words[1];
}

std::optional<std::string> host_name(std::string_view host) {
  std::string_view port;
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    port = host.substr(end + 1);
    host = host.substr(1, end - 1);
  } else {
    const std::size_t colon = host.find(':');
    port = colon == std::string_view::npos ? std::string_view() : host.substr(colon);
    host = host.substr(0, colon);
  }
  if (!port.empty() &&
      (port.front() != ':' || port.substr(1).find_first_not_of("0123456789") != std::string_view::npos)) {
    return std::nullopt;
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.empty()) return std::nullopt;
  return lower(host);
}

bool host_allowed(std::string_view host, const Remote& remote, const daemon::Config& config) {
  const auto name = host_name(host);
  if (!name) return host.empty();  // HTTP/1.0 may leave it out, and no browser speaks that
  static const std::string machine = machine_name();
  return loopback_name(*name) || *name == remote.local_address || *name == lower(config.jobs.advertise) ||
         (!machine.empty() && *name == machine);
}

bool same_origin(std::string_view origin, std::string_view host) {
  if (host.empty()) return false;
  const std::string ours = lower(host);
  return lower(origin) == "http://" + ours || lower(origin) == "https://" + ours;
}

Response cors_preflight() {
  Response response{.status = 200, .content_type = "text/plain; charset=utf-8", .body = "OK"};
  response.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, DELETE");
  response.headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type");
  response.headers.emplace_back("Access-Control-Max-Age", "600");
  return response;
}

}  // namespace ebb::server
