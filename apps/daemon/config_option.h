#pragma once

#include <string>

#include "ebb/base/result.h"
#include "ebb/daemon/config.h"

namespace ebb::cli {

/// The configuration in `file`, or where that is empty in the usual place; there a missing file means the
/// defaults.
[[nodiscard]] Result<daemon::Config> read_config(const std::string& file);
/// Says the error; exit status 2.
int fail_config(const Error& error);

}  // namespace ebb::cli
