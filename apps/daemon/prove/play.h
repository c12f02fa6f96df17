#pragma once

#include <filesystem>

namespace ebb::cli {

/// Plays every case with a daemon in this folder, and prints what came of it; the exit status. It ends what
/// it started as long as nobody ends it.
[[nodiscard]] int play_all(const std::filesystem::path& folder, bool json);

}  // namespace ebb::cli
