// Compiled only where NVIDIA's own header is found (scripts/fetch-nvml-header): our declarations against it.

#include <nvml.h>

#include <cstddef>
#include <cstdio>
#include <type_traits>

#include "nvml_abi.h"

namespace {

namespace abi = ebb::nvml_abi;

static_assert(sizeof(abi::Memory) == sizeof(nvmlMemory_t));
static_assert(offsetof(abi::Memory, used) == offsetof(nvmlMemory_t, used));
static_assert(sizeof(abi::MemoryV2) == sizeof(nvmlMemory_v2_t));
static_assert(offsetof(abi::MemoryV2, reserved) == offsetof(nvmlMemory_v2_t, reserved));
static_assert(offsetof(abi::MemoryV2, used) == offsetof(nvmlMemory_v2_t, used));
static_assert(abi::kMemoryV2 == nvmlMemory_v2);
static_assert(sizeof(abi::ProcessV1) == sizeof(nvmlProcessInfo_v1_t));
static_assert(offsetof(abi::ProcessV1, used_memory) == offsetof(nvmlProcessInfo_v1_t, usedGpuMemory));
static_assert(sizeof(abi::ProcessV2) == sizeof(nvmlProcessInfo_v2_t));
static_assert(offsetof(abi::ProcessV2, used_memory) == offsetof(nvmlProcessInfo_v2_t, usedGpuMemory));
static_assert(offsetof(abi::ProcessV2, gpu_instance) == offsetof(nvmlProcessInfo_v2_t, gpuInstanceId));
static_assert(sizeof(abi::Pci) == sizeof(nvmlPciInfo_t));
static_assert(offsetof(abi::Pci, domain) == offsetof(nvmlPciInfo_t, domain));
static_assert(offsetof(abi::Pci, bus_id) == offsetof(nvmlPciInfo_t, busId));
static_assert(abi::kUuidSize == NVML_DEVICE_UUID_V2_BUFFER_SIZE);
static_assert(abi::kNameSize == NVML_DEVICE_NAME_V2_BUFFER_SIZE);
static_assert(abi::kDriverVersionSize == NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE);
static_assert(abi::kMaxLinks == NVML_NVLINK_MAX_LINKS);
static_assert(sizeof(nvmlReturn_t) == sizeof(abi::Return) && sizeof(nvmlGpuTopologyLevel_t) == sizeof(int));
static_assert(sizeof(nvmlGpuP2PStatus_t) == sizeof(int) && sizeof(nvmlEnableState_t) == sizeof(int));
static_assert(sizeof(nvmlComputeMode_t) == sizeof(int) && sizeof(nvmlDevice_t) == sizeof(abi::Device));

static_assert(abi::kSuccess == NVML_SUCCESS && abi::kErrorUninitialized == NVML_ERROR_UNINITIALIZED);
static_assert(abi::kErrorInvalidArgument == NVML_ERROR_INVALID_ARGUMENT);
static_assert(abi::kErrorNotSupported == NVML_ERROR_NOT_SUPPORTED);
static_assert(abi::kErrorNoPermission == NVML_ERROR_NO_PERMISSION);
static_assert(abi::kErrorNotFound == NVML_ERROR_NOT_FOUND);
static_assert(abi::kErrorInsufficientSize == NVML_ERROR_INSUFFICIENT_SIZE);
static_assert(abi::kErrorDriverNotLoaded == NVML_ERROR_DRIVER_NOT_LOADED);
static_assert(abi::kErrorLibraryNotFound == NVML_ERROR_LIBRARY_NOT_FOUND);
static_assert(abi::kErrorFunctionNotFound == NVML_ERROR_FUNCTION_NOT_FOUND);
static_assert(abi::kErrorGpuIsLost == NVML_ERROR_GPU_IS_LOST && abi::kErrorUnknown == NVML_ERROR_UNKNOWN);
static_assert(abi::kErrorArgumentVersionMismatch == NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
static_assert(abi::kTopologySingle == NVML_TOPOLOGY_SINGLE &&
              abi::kTopologyMultiple == NVML_TOPOLOGY_MULTIPLE);
static_assert(abi::kTopologyHostBridge == NVML_TOPOLOGY_HOSTBRIDGE &&
              abi::kTopologyNode == NVML_TOPOLOGY_NODE);
static_assert(abi::kTopologySystem == NVML_TOPOLOGY_SYSTEM);
static_assert(abi::kP2pCapsNvlink == NVML_P2P_CAPS_INDEX_NVLINK && abi::kP2pStatusOk == NVML_P2P_STATUS_OK);
static_assert(abi::kComputeModeProhibited == NVML_COMPUTEMODE_PROHIBITED);
static_assert(abi::kFeatureEnabled == NVML_FEATURE_ENABLED);

// Functions agree in the number and the size of what they take; pointers and enumerations have other names.
template <typename Ours, typename Theirs>
struct SameShape : std::false_type {};
template <typename R1, typename... A1, typename R2, typename... A2>
struct SameShape<R1(A1...), R2(A2...)>
    : std::bool_constant<sizeof...(A1) == sizeof...(A2) && sizeof(R1) == sizeof(R2)> {};
template <typename Ours>
constexpr bool like(auto* theirs) {
  return SameShape<Ours, std::remove_pointer_t<decltype(theirs)>>::value;
}
static_assert(like<abi::Init>(&nvmlInit_v2) && like<abi::Shutdown>(&nvmlShutdown));
static_assert(like<abi::ErrorString>(&nvmlErrorString));
static_assert(like<abi::SystemGetDriverVersion>(&nvmlSystemGetDriverVersion));
static_assert(like<abi::DeviceGetCount>(&nvmlDeviceGetCount_v2));
static_assert(like<abi::DeviceGetHandleByIndex>(&nvmlDeviceGetHandleByIndex_v2));
static_assert(like<abi::DeviceGetHandleByUuid>(&nvmlDeviceGetHandleByUUID));
static_assert(like<abi::DeviceGetString>(&nvmlDeviceGetUUID) &&
              like<abi::DeviceGetString>(&nvmlDeviceGetName));
static_assert(like<abi::DeviceGetPci>(&nvmlDeviceGetPciInfo_v3));
static_assert(like<abi::DeviceGetUnsigned>(&nvmlDeviceGetMinorNumber));
static_assert(like<abi::DeviceGetUnsigned>(&nvmlDeviceGetMaxMigDeviceCount));
static_assert(like<abi::DeviceGetInt>(&nvmlDeviceGetComputeMode));
static_assert(like<abi::DeviceGetMemory>(&nvmlDeviceGetMemoryInfo));
static_assert(like<abi::DeviceGetMemoryV2>(&nvmlDeviceGetMemoryInfo_v2));
static_assert(like<abi::DeviceGetMigMode>(&nvmlDeviceGetMigMode));
static_assert(like<abi::DeviceGetMigHandle>(&nvmlDeviceGetMigDeviceHandleByIndex));
static_assert(like<abi::DeviceGetProcessesV2>(&nvmlDeviceGetComputeRunningProcesses_v3));
static_assert(like<abi::DeviceGetProcessesV2>(&nvmlDeviceGetGraphicsRunningProcesses_v3));
static_assert(like<abi::DeviceGetProcessesV2>(&nvmlDeviceGetMPSComputeRunningProcesses_v3));
static_assert(like<abi::DeviceGetCommonAncestor>(&nvmlDeviceGetTopologyCommonAncestor));
static_assert(like<abi::DeviceGetP2pStatus>(&nvmlDeviceGetP2PStatus));
static_assert(like<abi::DeviceGetLinkState>(&nvmlDeviceGetNvLinkState));
static_assert(like<abi::DeviceGetLinkRemotePci>(&nvmlDeviceGetNvLinkRemotePciInfo_v2));

}  // namespace

int main() {
  std::puts("Ebb's NVML declarations agree with nvml.h");
  return 0;
}
