#pragma once

#include <string>

#include "ebb/base/result.h"
#include "ebb/devices/gpu.h"
#include "library.h"

namespace ebb::nvml {

/// All GPUs and MIG instances; one that cannot be asked is listed as refused, with the driver's reason.
[[nodiscard]] Result<devices::NvmlList> list(const Library& library);
/// What is on one GPU or MIG instance now.
[[nodiscard]] Result<devices::GpuUsage> usage(const Library& library, const std::string& uuid);

}  // namespace ebb::nvml
