#pragma once

#include <sys/types.h>

#include <string>

namespace ebb::devices {

/// The name of a user, or the number where it has none.
[[nodiscard]] std::string user_name(uid_t uid);
/// /proc/PID/comm, harmless to print; empty where it cannot be read.
[[nodiscard]] std::string process_name(pid_t pid);
/// The owner of /proc/PID; empty where it is gone.
[[nodiscard]] std::string process_user(pid_t pid);

}  // namespace ebb::devices
