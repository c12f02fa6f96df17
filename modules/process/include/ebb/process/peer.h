#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/proc.h"

namespace ebb::process {

/// Who is at the other end of a connected Unix socket, as the kernel noted it at connect(2).
struct PeerCredentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  pid_t pid = 0;
  /// Readable when the peer is gone. Empty where the peer had gone before it could be opened; never of a
  /// process that took its number over.
  UniqueFd pidfd;
};

/// Fails where `socket` is no connected Unix socket, or where the peer is in a PID namespace that is not ours
/// to see (its pid reads 0).
[[nodiscard]] Result<PeerCredentials> peer_credentials(int socket);

/// What a job inherits from whoever submits it.
struct SubmitterContext {
  std::vector<std::string> environment;  ///< "NAME=value", as it was when the submitter was executed
  std::string workdir;                   ///< absolute, and the same folder for us as for the submitter
  mode_t umask = 022;
  std::vector<ProcLimit> limits;
  int nice = 0;
};

inline constexpr std::size_t kLargestEnvironment = 4 << 20;
inline constexpr std::size_t kMostVariables = 100'000;

/// Reads it from the peer's /proc, once, now; without its environment where nobody wants that. Words without
/// a name ("=x", "x") are left out. Errors say what the submitter can do: Errc::too_large (environment),
/// Errc::unavailable (the peer is gone), Errc::forbidden (its /proc is closed to us), Errc::invalid (its
/// working directory was deleted or is not ours to see).
[[nodiscard]] Result<SubmitterContext> submitter_context(const PeerCredentials& peer,
                                                         bool with_environment = true);

}  // namespace ebb::process
