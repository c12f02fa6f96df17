#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdio>

namespace ebb::process {

inline constexpr const char* kKeeperSocket = "keeper.sock";
inline constexpr const char* kNewKeeperSocket = "keeper.sock.new";  ///< until it can be connected to

/// The address of a socket in an open folder. By the descriptor, since a socket's path may have 107 bytes
/// only.
inline sockaddr_un keeper_socket_address(int folder, const char* name) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
  return address;
}

}  // namespace ebb::process
