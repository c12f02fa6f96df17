#pragma once

#include "ebb/devices/gpu.h"
#include "ebb/devices/gpu_check.h"
#include "ebb/devices/gpu_checker.h"
#include "ebb/devices/inventory.h"
#include "ebb/devices/locks.h"
#include "ebb/devices/nvml_client.h"
#include "ebb/devices/ports.h"
#include "ebb/model/devices.h"

namespace ebb::devices {

/// What `GET /v1/devices` shows of a GPU by itself; its state, and whose it is, the engine knows.
[[nodiscard]] model::Gpu to_model(const Gpu& gpu);
/// The state that a look at a GPU gives it while nobody leases it: what is still there after a job's end is
/// quarantined.
[[nodiscard]] model::DeviceState state_of(const GpuVerdict& verdict);
[[nodiscard]] model::DeviceState state_of(const PortVerdict& verdict);

}  // namespace ebb::devices
