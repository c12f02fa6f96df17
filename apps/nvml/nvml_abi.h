#pragma once

/// The part of NVML's binary interface that Ebb calls, written from its documentation: the names and values
/// are NVML's own. NVIDIA's header (PyPI's `nvidia-nvml-dev`) may not be copied here and is not needed to
/// build; where it is there, abi_test.cc is compiled against both and refuses any difference.
namespace ebb::nvml_abi {

using Return = int;  ///< nvmlReturn_t
inline constexpr Return kSuccess = 0;
inline constexpr Return kErrorUninitialized = 1;
inline constexpr Return kErrorInvalidArgument = 2;
inline constexpr Return kErrorNotSupported = 3;
inline constexpr Return kErrorNoPermission = 4;
inline constexpr Return kErrorNotFound = 6;
inline constexpr Return kErrorInsufficientSize = 7;
inline constexpr Return kErrorDriverNotLoaded = 9;
inline constexpr Return kErrorLibraryNotFound = 12;
inline constexpr Return kErrorFunctionNotFound = 13;
inline constexpr Return kErrorGpuIsLost = 15;
inline constexpr Return kErrorArgumentVersionMismatch = 25;
inline constexpr Return kErrorUnknown = 999;

using Device = struct DeviceHandle*;  ///< nvmlDevice_t, opaque

struct Memory {  ///< nvmlMemory_t
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;  ///< what the driver reserves for itself counted in
};
struct MemoryV2 {  ///< nvmlMemory_v2_t
  unsigned int version;
  unsigned long long total;
  unsigned long long reserved;
  unsigned long long free;
  unsigned long long used;
};
inline constexpr unsigned kMemoryV2 = static_cast<unsigned>(sizeof(MemoryV2)) | (2U << 24U);

struct ProcessV1 {  ///< nvmlProcessInfo_v1_t
  unsigned int pid;
  unsigned long long used_memory;
};
struct ProcessV2 {  ///< nvmlProcessInfo_v2_t, which the _v2 and _v3 calls fill
  unsigned int pid;
  unsigned long long used_memory;
  unsigned int gpu_instance;
  unsigned int compute_instance;
};
inline constexpr unsigned long long kNotAvailable = ~0ULL;  ///< NVML_VALUE_NOT_AVAILABLE

struct Pci {  ///< nvmlPciInfo_t
  char bus_id_legacy[16];
  unsigned int domain;
  unsigned int bus;
  unsigned int device;
  unsigned int pci_device_id;
  unsigned int pci_subsystem_id;
  char bus_id[32];
};

inline constexpr unsigned kUuidSize = 96;           ///< NVML_DEVICE_UUID_V2_BUFFER_SIZE
inline constexpr unsigned kNameSize = 96;           ///< NVML_DEVICE_NAME_V2_BUFFER_SIZE
inline constexpr unsigned kDriverVersionSize = 80;  ///< NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
inline constexpr unsigned kMaxLinks = 36;  ///< NVML_NVLINK_MAX_LINKS; older drivers refuse the later half

// Enumerations cross the border as int.
inline constexpr int kTopologySingle = 10;
inline constexpr int kTopologyMultiple = 20;
inline constexpr int kTopologyHostBridge = 30;
inline constexpr int kTopologyNode = 40;
inline constexpr int kTopologySystem = 50;
inline constexpr int kP2pCapsNvlink = 2;
inline constexpr int kP2pStatusOk = 0;
inline constexpr int kComputeModeProhibited = 2;
inline constexpr int kFeatureEnabled = 1;

// The calls, each named as the symbol that dlsym() is asked for.
using Init = Return();                                               // nvmlInit_v2
using Shutdown = Return();                                           // nvmlShutdown
using ErrorString = const char*(Return);                             // nvmlErrorString
using SystemGetDriverVersion = Return(char*, unsigned);              // nvmlSystemGetDriverVersion
using DeviceGetCount = Return(unsigned*);                            // nvmlDeviceGetCount_v2
using DeviceGetHandleByIndex = Return(unsigned, Device*);            // nvmlDeviceGetHandleByIndex_v2
using DeviceGetHandleByUuid = Return(const char*, Device*);          // nvmlDeviceGetHandleByUUID
using DeviceGetString = Return(Device, char*, unsigned);             // nvmlDeviceGetUUID, …Name
using DeviceGetPci = Return(Device, Pci*);                           // nvmlDeviceGetPciInfo_v3
using DeviceGetUnsigned = Return(Device, unsigned*);                 // …MinorNumber, …MaxMigDeviceCount
using DeviceGetInt = Return(Device, int*);                           // …ComputeMode
using DeviceGetMemory = Return(Device, Memory*);                     // …MemoryInfo
using DeviceGetMemoryV2 = Return(Device, MemoryV2*);                 // …MemoryInfo_v2
using DeviceGetMigMode = Return(Device, unsigned*, unsigned*);       // …MigMode: current, pending
using DeviceGetMigHandle = Return(Device, unsigned, Device*);        // …MigDeviceHandleByIndex
using DeviceGetProcessesV1 = Return(Device, unsigned*, ProcessV1*);  // …RunningProcesses
using DeviceGetProcessesV2 = Return(Device, unsigned*, ProcessV2*);  // …RunningProcesses_v2, _v3
using DeviceGetCommonAncestor = Return(Device, Device, int*);        // …TopologyCommonAncestor
using DeviceGetP2pStatus = Return(Device, Device, int, int*);        // …P2PStatus
using DeviceGetLinkState = Return(Device, unsigned, int*);           // …NvLinkState
using DeviceGetLinkRemotePci = Return(Device, unsigned, Pci*);       // …NvLinkRemotePciInfo_v2

}  // namespace ebb::nvml_abi
