#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace ebb::devices {

/// Visits the open descriptors of all processes that may be seen, as paths "/proc/PID/fd/N", until `visit`
/// returns true; the pid where it did, else 0. Slow, for messages only: it may visit millions.
[[nodiscard]] pid_t find_descriptor(const std::function<bool(pid_t, const std::string& fd)>& visit);

}  // namespace ebb::devices
