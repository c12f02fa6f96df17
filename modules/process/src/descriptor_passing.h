#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <span>
#include <vector>

#include "ebb/base/unique_fd.h"

namespace ebb::process {

/// sendmsg(2) of one packet with descriptors beside it. False, with errno, where it was not sent.
[[nodiscard]] bool send_with_descriptors(int socket, std::span<const char> packet,
                                         std::span<const int> descriptors, int flags) noexcept;
/// recvmsg(2) of one packet; descriptors that come beside it are appended, CLOEXEC. As recv(2) returns.
[[nodiscard]] ssize_t receive_with_descriptors(int socket, std::span<char> packet,
                                               std::vector<UniqueFd>& descriptors, int flags);

}  // namespace ebb::process
