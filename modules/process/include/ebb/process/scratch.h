#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/base/result.h"

namespace ebb::process {

/// Makes the scratch base (0711, ours) where it is missing. Refuses (Errc::forbidden) one that is a symbolic
/// link, no folder, another user's, or writable by others: in /var/tmp anybody could have put it there.
[[nodiscard]] Result<void> prepare_scratch_base(const std::filesystem::path& base);

/// Makes `base/<job>.<attempt>`, 0700, of `uid` and `gid`, after prepare_scratch_base(). Errc::conflict where
/// it exists.
[[nodiscard]] Result<std::filesystem::path> make_scratch(const std::filesystem::path& base, AttemptId attempt,
                                                         uid_t uid, gid_t gid);

/// How the removal of a tree went.
struct TreeRemoval {
  bool complete = false;          ///< the folder and all in it is gone
  bool stopped = false;           ///< the stop flag or the deadline ended it; call again to go on
  std::uint64_t removed = 0;      ///< files and folders
  std::vector<std::string> left;  ///< up to kMostLeft "path: why" of what could not be removed
};
inline constexpr std::size_t kMostLeft = 16;

/// Removes `folder` and everything in it, as whatever its owner made it: folders without permissions,
/// millions of files, trees deeper than PATH_MAX. Follows no symbolic link, crosses no mount (a mount point
/// is left and named), opens no file. Checks `stop` and the deadline after every few hundred entries. A
/// folder that does not exist is complete. Blocks on the disk: run it in a thread that may wait. `stop` may
/// be null.
[[nodiscard]] TreeRemoval remove_tree(const std::filesystem::path& folder, BootTime deadline,
                                      const std::atomic<bool>* stop);

}  // namespace ebb::process
