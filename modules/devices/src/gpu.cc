#include "ebb/devices/gpu.h"

namespace ebb::devices {

std::string cuda_name(const Gpu& gpu) { return gpu.kind == GpuKind::mig ? gpu.uuid : std::to_string(gpu.id); }

std::string label(const Gpu& gpu) {
  return gpu.kind == GpuKind::mig ? std::to_string(gpu.id) + " (" + gpu.uuid + ")" : std::to_string(gpu.id);
}

}  // namespace ebb::devices
