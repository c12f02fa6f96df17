#pragma once

#include <poll.h>

#include <algorithm>
#include <span>

namespace ebb::process {

/// Which descriptors the last poll(2) found ready, so that nobody asks the kernel about the others.
class Ready {
 public:
  explicit Ready(std::span<const pollfd> entries) noexcept : entries_(entries) {}
  [[nodiscard]] bool operator()(int fd) const noexcept {
    return std::any_of(entries_.begin(), entries_.end(),
                       [fd](const pollfd& entry) { return entry.fd == fd && entry.revents != 0; });
  }

 private:
  std::span<const pollfd> entries_;
};

}  // namespace ebb::process
