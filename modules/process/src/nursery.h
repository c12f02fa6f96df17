#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace ebb::process {

// Between a KeeperStarter and the process that forks keepers for it, over a SOCK_SEQPACKET pair.

/// A request: this, then the keeper's label. Beside it travel the descriptors: spec, link, folder, then owner
/// and cgroup where they are there, then the locks.
struct NurseryRequest {
  std::uint8_t owner = 0;
  std::uint8_t cgroup = 0;
  std::uint16_t locks = 0;
};
/// The answer: the keeper's pid, with its pidfd beside it, or -errno.
struct NurseryAnswer {
  std::int32_t pid = 0;
};

inline constexpr std::size_t kMaxNurseryDescriptors = 240;  ///< a packet carries at most 253
inline constexpr std::size_t kMaxNurseryLabel = 256;
inline constexpr const char* kNurseryWord =
    "nursery:";  ///< then the channel's number: the argument that makes one

}  // namespace ebb::process
