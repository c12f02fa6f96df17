#include "ebb/client/endpoint.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/url/parse.hpp>
#include <charconv>
#include <cstdlib>

#include "ebb/base/files.h"

namespace ebb::client {
namespace {

constexpr std::string_view kSystemSocket = "/run/ebb/ebb.sock";

Error usage(std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

bool looks_like_host_and_port(std::string_view text) {
  const auto colon = text.rfind(':');
  return colon != std::string_view::npos && colon + 1 < text.size() &&
         text.find('/') == std::string_view::npos &&
         std::ranges::all_of(text.substr(colon + 1), [](char c) { return c >= '0' && c <= '9'; });
}

Endpoint socket_at(std::string path) {
  return {.kind = Endpoint::Kind::socket, .path = std::move(path), .host = {}, .port = {}};
}

}  // namespace

std::string Endpoint::text() const {
  if (kind == Kind::socket) return path;
  return "http://" + (host.find(':') == std::string::npos ? host : '[' + host + ']') + ':' + port;
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const std::string quoted = '\'' + std::string(text) + '\'';
  if (text.empty()) return usage("no server is named: give a URL (http://host:8765) or a socket's path");
  if (text.find("://") == std::string_view::npos) {
    if (looks_like_host_and_port(text)) {
      return usage("the server " + quoted + " is no path of a socket; for TCP write http://" +
                   std::string(text));
    }
    return socket_at(std::string(text));
  }
  const auto url = boost::urls::parse_uri(text);
  if (!url || url->host().empty())
    return usage("the server " + quoted + " is no URL; example: http://host:8765");
  if (url->scheme() == "https") {
    return usage("the server " + quoted +
                 ": the daemon speaks no TLS; use http:// through a tunnel, for example 'ssh -L "
                 "8765:localhost:8765 host'");
  }
  if (url->scheme() != "http") return usage("the server " + quoted + " must begin with http://");
  if (url->has_userinfo()) return usage("the server's URL must not hold a key; put it into EBB_API_KEY");
  int port = 0;
  const std::string_view digits(url->port().data(), url->port().size());
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (!digits.empty() && (read.ec != std::errc() || port < 1 || port > 65535)) {
    return usage("the server " + quoted + ": a port is a number from 1 to 65535");
  }
  if ((!url->path().empty() && url->path() != "/") || url->has_query() || url->has_fragment()) {
    return usage("the server " + quoted + " must end after the port");
  }
  return Endpoint{.kind = Endpoint::Kind::tcp,
                  .path = {},
                  .host = url->host_type() == boost::urls::host_type::ipv6
                              ? std::string(url->host_ipv6_address().to_string())
                              : url->host(),
                  .port = digits.empty() ? "8765" : std::string(digits)};
}

Surroundings Surroundings::of_process() {
  Surroundings here{.ebb_server = variable("EBB_SERVER"),
                    .ebb_socket = variable("EBB_SOCKET"),
                    .runtime_dir = variable("XDG_RUNTIME_DIR"),
                    .state_home = variable("XDG_STATE_HOME"),
                    .home = variable("HOME"),
                    .api_key = variable("EBB_API_KEY"),
                    .uid = ::geteuid()};
  if (!here.home) {
    if (const passwd* account = ::getpwuid(here.uid)) here.home = account->pw_dir;
  }
  return here;
}

Result<std::vector<Endpoint>> server_candidates(std::string_view server, const Surroundings& surroundings) {
  const auto alone = [](std::string_view text) -> Result<std::vector<Endpoint>> {
    auto endpoint = parse_endpoint(text);
    if (!endpoint) return endpoint.error();
    return std::vector{std::move(*endpoint)};
  };
  if (!server.empty()) return alone(server);
  if (surroundings.ebb_server) return alone(*surroundings.ebb_server);
  if (surroundings.ebb_socket) return std::vector{socket_at(*surroundings.ebb_socket)};

  std::vector<Endpoint> candidates;
  if (surroundings.uid != 0) {
    if (surroundings.runtime_dir) {
      candidates.push_back(socket_at(*surroundings.runtime_dir + "/ebb/ebb.sock"));
    } else if (surroundings.state_home) {
      candidates.push_back(socket_at(*surroundings.state_home + "/ebb/ebb.sock"));
    } else if (surroundings.home) {
      candidates.push_back(socket_at(*surroundings.home + "/.local/state/ebb/ebb.sock"));
    }
  }
  candidates.push_back(socket_at(std::string(kSystemSocket)));
  return candidates;
}

Result<std::string> find_key(const Surroundings& surroundings) {
  if (surroundings.api_key) return *surroundings.api_key;
  if (!surroundings.home) return std::string();
  const std::string path = *surroundings.home + "/.config/ebb/key";
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return std::string();
  if ((status.st_mode & 077) != 0) {
    return Error{.code = Errc::forbidden,
                 .message = "the key in " + path + " can be read by others; 'chmod 600 " + path + "'",
                 .pointer = {},
                 .type = {}};
  }
  auto text = read_file(path, 4096);
  if (!text) return text.error();
  return text->substr(0, text->find_first_of("\r\n"));
}

Error no_daemon(std::span<const Endpoint> tried) {
  std::string places;
  for (const Endpoint& endpoint : tried) places += (places.empty() ? "" : " or ") + endpoint.text();
  const bool local =
      std::ranges::all_of(tried, [](const Endpoint& e) { return e.kind == Endpoint::Kind::socket; });
  const char* way_out =
      !local             ? "; is 'ebb serve' running on that host, and does its --listen name this address?"
      : ::geteuid() == 0 ? "; start one: 'ebb serve &' or 'systemctl start ebb'"
                         : "; start one: 'ebb serve &' or 'systemctl --user start ebb'";
  return {.code = Errc::unavailable,
          .message = "no daemon at " + places + way_out,
          .pointer = {},
          .type = std::string(kNoDaemonType)};
}

}  // namespace ebb::client
