#pragma once

#include <string>

#include "ebb/base/result.h"
#include "nvml_abi.h"

namespace ebb::nvml {

/// libnvidia-ml.so.1, loaded and initialized. A call that this driver's library lacks is a null pointer. One
/// thread. Kept until the process ends: unloading a library that talks to a kernel driver gains nothing.
struct Library {
  nvml_abi::Init* init = nullptr;
  nvml_abi::Shutdown* shutdown = nullptr;
  nvml_abi::ErrorString* error_string = nullptr;
  nvml_abi::SystemGetDriverVersion* driver_version = nullptr;
  nvml_abi::DeviceGetCount* count = nullptr;
  nvml_abi::DeviceGetHandleByIndex* by_index = nullptr;
  nvml_abi::DeviceGetHandleByUuid* by_uuid = nullptr;
  nvml_abi::DeviceGetString* uuid = nullptr;
  nvml_abi::DeviceGetString* name = nullptr;
  nvml_abi::DeviceGetPci* pci = nullptr;
  nvml_abi::DeviceGetUnsigned* minor = nullptr;
  nvml_abi::DeviceGetInt* compute_mode = nullptr;
  nvml_abi::DeviceGetMemory* memory = nullptr;
  nvml_abi::DeviceGetMemoryV2* memory_v2 = nullptr;
  nvml_abi::DeviceGetMigMode* mig_mode = nullptr;
  nvml_abi::DeviceGetUnsigned* max_mig = nullptr;
  nvml_abi::DeviceGetMigHandle* mig_by_index = nullptr;
  nvml_abi::DeviceGetCommonAncestor* common_ancestor = nullptr;
  nvml_abi::DeviceGetP2pStatus* p2p_status = nullptr;
  nvml_abi::DeviceGetLinkState* link_state = nullptr;
  nvml_abi::DeviceGetLinkRemotePci* link_remote_pci = nullptr;
  /// Compute, graphics and MPS processes: the newest form that there is of each, else the first one.
  nvml_abi::DeviceGetProcessesV2* processes[3] = {};
  nvml_abi::DeviceGetProcessesV1* processes_v1[3] = {};

  /// dlopen and nvmlInit. `path` as for dlopen. Errors: unavailable, with what to do.
  [[nodiscard]] static Result<Library> load(const char* path);
  /// NVML's own words for a code: "GPU is lost".
  [[nodiscard]] std::string text(nvml_abi::Return code) const;
  /// An error that says what could not be asked.
  [[nodiscard]] Error error(nvml_abi::Return code, const std::string& what) const;
};

}  // namespace ebb::nvml
