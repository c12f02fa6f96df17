#include "library.h"

#include <dlfcn.h>

#include <array>

namespace ebb::nvml {
namespace {

template <typename Function>
void bind(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
}

void bind_processes(void* handle, Library& library) {
  constexpr std::array<const char*, 3> kKinds = {"Compute", "Graphics", "MPSCompute"};
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    const std::string name = std::string("nvmlDeviceGet") + kKinds[i] + "RunningProcesses";
    bind(handle, (name + "_v3").c_str(), library.processes[i]);
    if (library.processes[i] == nullptr) bind(handle, (name + "_v2").c_str(), library.processes[i]);
    bind(handle, name.c_str(), library.processes_v1[i]);
  }
}

}  // namespace

Result<Library> Library::load(const char* path) {
  void* handle = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    return Error{.code = Errc::unavailable,
                 .message = std::string("no NVIDIA driver: ") + (why != nullptr ? why : path) +
                            "; install the driver, or start the daemon with --gpus none",
                 .pointer = {},
                 .type = {}};
  }
  Library library;
  bind(handle, "nvmlInit_v2", library.init);
  bind(handle, "nvmlShutdown", library.shutdown);
  bind(handle, "nvmlErrorString", library.error_string);
  bind(handle, "nvmlSystemGetDriverVersion", library.driver_version);
  bind(handle, "nvmlDeviceGetCount_v2", library.count);
  bind(handle, "nvmlDeviceGetHandleByIndex_v2", library.by_index);
  bind(handle, "nvmlDeviceGetHandleByUUID", library.by_uuid);
  bind(handle, "nvmlDeviceGetUUID", library.uuid);
  bind(handle, "nvmlDeviceGetName", library.name);
  bind(handle, "nvmlDeviceGetPciInfo_v3", library.pci);
  bind(handle, "nvmlDeviceGetMinorNumber", library.minor);
  bind(handle, "nvmlDeviceGetComputeMode", library.compute_mode);
  bind(handle, "nvmlDeviceGetMemoryInfo", library.memory);
  bind(handle, "nvmlDeviceGetMemoryInfo_v2", library.memory_v2);
  bind(handle, "nvmlDeviceGetMigMode", library.mig_mode);
  bind(handle, "nvmlDeviceGetMaxMigDeviceCount", library.max_mig);
  bind(handle, "nvmlDeviceGetMigDeviceHandleByIndex", library.mig_by_index);
  bind(handle, "nvmlDeviceGetTopologyCommonAncestor", library.common_ancestor);
  bind(handle, "nvmlDeviceGetP2PStatus", library.p2p_status);
  bind(handle, "nvmlDeviceGetNvLinkState", library.link_state);
  bind(handle, "nvmlDeviceGetNvLinkRemotePciInfo_v2", library.link_remote_pci);
  bind_processes(handle, library);
  if (library.init == nullptr || library.count == nullptr || library.by_index == nullptr ||
      library.by_uuid == nullptr || library.uuid == nullptr || library.memory == nullptr ||
      library.driver_version == nullptr || library.processes_v1[0] == nullptr) {
    return Error{
        .code = Errc::unavailable,
        .message = std::string(path) + " is too old to be asked about GPUs; update the NVIDIA driver",
        .pointer = {},
        .type = {}};
  }
  if (const auto code = library.init(); code != nvml_abi::kSuccess) {
    Error error = library.error(code, "the NVIDIA driver does not start");
    error.code = Errc::unavailable;
    return error;
  }
  return library;
}

std::string Library::text(nvml_abi::Return code) const {
  const char* words = error_string != nullptr ? error_string(code) : nullptr;
  return words != nullptr ? words : "NVML error " + std::to_string(code);
}

Error Library::error(nvml_abi::Return code, const std::string& what) const {
  Errc kind = Errc::io;
  if (code == nvml_abi::kErrorNotFound || code == nvml_abi::kErrorInvalidArgument) kind = Errc::not_found;
  return Error{.code = kind, .message = what + ": " + text(code), .pointer = {}, .type = {}};
}

}  // namespace ebb::nvml
