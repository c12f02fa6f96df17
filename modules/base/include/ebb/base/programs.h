#pragma once

#include <filesystem>
#include <string_view>

#include "ebb/base/result.h"

namespace ebb {

/// Where another program of this same build or installation is ("ebb-keeper", "ebb-nvml"): beside the running
/// one, or in ../libexec/ebb of it, or, as `ebb` for one that is there, in ../../bin. Never searched in PATH,
/// which is the user's to change.
[[nodiscard]] Result<std::filesystem::path> find_program(std::string_view name);

}  // namespace ebb
