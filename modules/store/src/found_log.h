// What a daemon that did not close its database has left in the write-ahead log, as SQLite will read it.
#pragma once

#include <filesystem>

#include "ebb/store/store.h"

namespace ebb::store {

/// Before SQLite opens the database, which takes the log in. A file that is not there or cannot be read says
/// nothing; what is wrong with it is SQLite's to tell.
[[nodiscard]] Store::FoundLog look_at_log(const std::filesystem::path& database);

}  // namespace ebb::store
