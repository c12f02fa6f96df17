// The folder that holds the database: is it fit, and is it ours alone?
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb::store {

/// The name of a file system that is shared between machines, where WAL does not work; nothing for a local
/// one. `magic` is statfs's f_type, `kind` the type of /proc/self/mountinfo ("fuse.sshfs"), where known.
[[nodiscard]] std::optional<std::string> network_file_system(long magic, std::string_view kind);

/// Refuses a folder that is none, is not writable, or lies on a network file system.
[[nodiscard]] Result<void> check_folder(const std::filesystem::path& folder);

/// Takes `folder`/lock for this process, for as long as the descriptor is open. The file says who holds it.
[[nodiscard]] Result<UniqueFd> lock_folder(const std::filesystem::path& folder, std::string_view note);

}  // namespace ebb::store
