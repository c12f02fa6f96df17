#pragma once

#include <sys/un.h>

#include <cstdio>

namespace ebb::process {

/// The address of keeper.sock in an open folder. By the descriptor, since a socket's path may have 107 bytes
/// only.
inline sockaddr_un keeper_socket_address(int folder) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/keeper.sock", folder);
  return address;
}

}  // namespace ebb::process
