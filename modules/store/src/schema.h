#pragma once

#include <filesystem>

#include "sqlite.h"

namespace ebb::store {

/// What the header of the file must say it is: "Ebb" and a byte that stands for this family of versions.
inline constexpr std::int64_t kApplicationId = 0x45626201;
/// The version that this program writes. docs/formats/database.md describes each.
inline constexpr int kSchemaVersion = 1;

/// Sets up a connection for writing and brings the database to kSchemaVersion; refuses a file that is none of
/// ours, is damaged, or newer. `path` is for the messages.
[[nodiscard]] Result<void> prepare_database(Connection& connection, const std::filesystem::path& path);

}  // namespace ebb::store
