#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"

namespace ebb {

/// A listening TCP socket of this network namespace, of any process.
struct Listener {
  std::uint64_t inode = 0;  ///< as in /proc/PID/fd: "socket:[inode]"
  uid_t uid = 0;            ///< who made it
  std::string address;      ///< "127.0.0.1", "0.0.0.0", "::1", "::"
  std::uint16_t port = 0;
  bool ipv6 = false;
  /// Id of the cgroup (v2) that it was made in: the inode of that cgroup's folder. Nothing where the kernel
  /// does not tell; then its owner must be looked for in /proc/PID/fd.
  std::optional<std::uint64_t> cgroup_id;
};

/// All listeners on ports `first` to `last`, IPv4 and IPv6, asked of the kernel through sock_diag; where that
/// is not to be had, read from /proc/net/tcp and tcp6, without cgroup ids. Any thread; no privileges needed.
[[nodiscard]] Result<std::vector<Listener>> tcp_listeners(std::uint16_t first, std::uint16_t last);

/// The listeners in the text of /proc/net/tcp (or tcp6, `ipv6`), on any port. Lines that do not read as a
/// socket are left out.
[[nodiscard]] std::vector<Listener> parse_proc_net_tcp(std::string_view text, bool ipv6);

}  // namespace ebb
