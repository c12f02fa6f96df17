#include "ebb/devices/devices.h"

namespace ebb::devices {

model::Gpu to_model(const Gpu& gpu) {
  model::Gpu out;
  out.id = gpu.id;
  out.uuid = gpu.uuid;
  out.name = gpu.name;
  if (gpu.kind != GpuKind::declared) out.memory_mib = gpu.memory_mib;
  if (gpu.numa_node >= 0) out.numa_node = gpu.numa_node;
  return out;
}

model::DeviceState state_of(const GpuVerdict& verdict) {
  switch (verdict.kind) {
    case GpuVerdict::Kind::free:
      return model::DeviceState::free;
    case GpuVerdict::Kind::by_job:
      return model::DeviceState::quarantined;
    case GpuVerdict::Kind::outside:
      return model::DeviceState::outside;
    case GpuVerdict::Kind::unknown:
      break;
  }
  return model::DeviceState::unknown;
}

model::DeviceState state_of(const PortVerdict& verdict) {
  switch (verdict.kind) {
    case PortVerdict::Kind::free:
      return model::DeviceState::free;
    case PortVerdict::Kind::taken:
      return model::DeviceState::outside;
    case PortVerdict::Kind::unknown:
      break;
  }
  return model::DeviceState::unknown;
}

}  // namespace ebb::devices
