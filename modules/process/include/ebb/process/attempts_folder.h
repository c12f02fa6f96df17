#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ebb/base/result.h"

namespace ebb::process {

// STATE/attempts, with one folder for each attempt: its keeper's socket and end record, which must outlive
// the daemon and need not outlive the machine. So for root it is a link to a folder in a file system of
// memory, where there is one; docs/decisions/attempts-in-memory.md says why, and why not for other users.

/// Where such a folder may be, the best place first; nothing for a user other than root.
[[nodiscard]] std::vector<std::filesystem::path> memory_places();

struct AttemptsFolder {
  std::filesystem::path state_dir;  ///< ours, closed to others
  std::vector<std::filesystem::path> places =
      memory_places();  ///< those that are not of memory are passed over
  /// Attempts that may have been begun since the machine started. Asked only where what the link led to is
  /// gone: a folder that nobody can look into any more must not pass for one that never was.
  std::function<std::vector<std::string>()> begun;
};

/// Finds or makes it; its real path. What is found is taken only if it is this state directory's own, a
/// folder, ours and closed to others; else a new one is made, and in it, for each attempt that was begun, the
/// folder of a keeper that is dead (a `keeper.sock` that nobody listens on). A plain folder with something in
/// it stays.
[[nodiscard]] Result<std::filesystem::path> prepare_attempts(const AttemptsFolder& wanted);

/// Removes the folder of one attempt, whose keeper is gone.
void remove_attempt_folder(const std::filesystem::path& folder);

/// Removes STATE/attempts where nothing is in it.
void give_back_attempts(const std::filesystem::path& state_dir);

}  // namespace ebb::process
