#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"

namespace ebb::client {

/// Where a daemon may answer.
struct Endpoint {
  enum class Kind { socket, tcp };
  Kind kind = Kind::socket;
  std::string path;  ///< socket: absolute or relative path
  std::string host;  ///< tcp: name or address, IPv6 without brackets
  std::string port;  ///< tcp

  /// "/run/ebb/ebb.sock", "http://127.0.0.1:8765"
  [[nodiscard]] std::string text() const;
  bool operator==(const Endpoint&) const = default;
};

/// Reads a URL ("http://host:8765") or the path of a socket. TLS is not spoken; the error says what to do.
[[nodiscard]] Result<Endpoint> parse_endpoint(std::string_view text);

/// What of a process's surroundings decides where it looks for a daemon and its key.
struct Surroundings {
  std::optional<std::string> ebb_server, ebb_socket, runtime_dir, state_home, home, api_key;
  uid_t uid = 0;

  /// Of this process; empty variables count as unset. Without HOME, the account's home.
  [[nodiscard]] static Surroundings of_process();
};

/// Where to look, in this order: what --server names (`server`, empty when it was not given), EBB_SERVER,
/// EBB_SOCKET: each of these alone, never anything else; without them the user's socket, then the system's
/// (for root: only the system's).
[[nodiscard]] Result<std::vector<Endpoint>> server_candidates(std::string_view server,
                                                              const Surroundings& surroundings);

/// The key for a daemon over TCP: EBB_API_KEY, else the first line of ~/.config/ebb/key, which must be closed
/// to others (Errc::forbidden says how). Empty where there is none.
[[nodiscard]] Result<std::string> find_key(const Surroundings& surroundings);

/// Type of the error that means that no daemon answers.
inline constexpr std::string_view kNoDaemonType = "no-daemon";
/// "no daemon at A or B; start one: …"
[[nodiscard]] Error no_daemon(std::span<const Endpoint> tried);

}  // namespace ebb::client
