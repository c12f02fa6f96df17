// A stand-in for libnvidia-ml.so.1: the calls that ebb-nvml makes, answered from a control file (README.md).

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "control.h"
#include "nvml_abi.h"

namespace {

using namespace ebb::nvml_abi;
using ebb::nvml_stub::Control;
using ebb::nvml_stub::Process;
using ebb::nvml_stub::read_control;
using ebb::nvml_stub::StubGpu;

constexpr unsigned long long kMib = 1ULL << 20U;

// Like a thread that the driver keeps in the kernel: only SIGKILL ends it.
[[noreturn]] void hang() {
  for (;;) ::pause();
}

// Handles are 1 + the number of the GPU, so that none is null.
Device handle_of(int gpu) { return reinterpret_cast<Device>(static_cast<std::uintptr_t>(gpu) + 1); }
int number_of(Device device) { return static_cast<int>(reinterpret_cast<std::uintptr_t>(device)) - 1; }

// What happens before any call does its work.
Return begin(const char* call, const Control& control) {
  if (!control.present) return kErrorDriverNotLoaded;
  const auto& calls = control.hanging_calls;
  if (std::find(calls.begin(), calls.end(), call) != calls.end()) hang();
  const auto error = control.errors.find(call);
  return error == control.errors.end() ? kSuccess : error->second;
}

Return begin(const char* call, const Control& control, Device device) {
  if (const Return code = begin(call, control); code != kSuccess) return code;
  const int gpu = number_of(device);
  if (gpu < 0 || gpu >= static_cast<int>(control.gpus.size())) return kErrorInvalidArgument;
  const auto has = [&](const std::vector<int>& list) {
    return std::find(list.begin(), list.end(), gpu) != list.end();
  };
  if (has(control.hanging_gpus)) hang();
  return has(control.lost) ? kErrorGpuIsLost : kSuccess;
}

const StubGpu& gpu_of(const Control& control, Device device) {
  return control.gpus[static_cast<std::size_t>(number_of(device))];
}

Return copy(const std::string& text, char* buffer, unsigned length) {
  if (text.size() >= length) return kErrorInsufficientSize;
  std::memcpy(buffer, text.c_str(), text.size() + 1);
  return kSuccess;
}

void fill_pci(const std::string& text, Pci* pci) {
  *pci = {};
  std::memcpy(pci->bus_id, text.c_str(), std::min(text.size(), sizeof pci->bus_id - 1));
}

// The GPU at the other end of a link: the links of a GPU are numbered in the order of its neighbours.
int neighbour(const Control& control, int gpu, unsigned link) {
  unsigned before = 0;
  for (const auto& [pair, count] : control.links) {
    if (pair.first != gpu && pair.second != gpu) continue;
    before += static_cast<unsigned>(count);
    if (link < before) return pair.first == gpu ? pair.second : pair.first;
  }
  return -1;
}

Return processes(const char* call, const char* kind, Device device, unsigned* count, ProcessV2* infos) {
  const Control control = read_control();
  if (const Return code = begin(call, control, device); code != kSuccess) return code;
  unsigned found = 0;
  for (const Process& process : control.processes) {
    if (process.gpu != number_of(device) || process.kind != kind) continue;
    if (infos != nullptr && found < *count) {
      infos[found] = {.pid = process.pid,
                      .used_memory = process.mib < 0 ? kNotAvailable
                                                     : static_cast<unsigned long long>(process.mib) * kMib,
                      .gpu_instance = ~0U,
                      .compute_instance = ~0U};
    }
    ++found;
  }
  const bool fits = found <= *count && (infos != nullptr || found == 0);
  *count = found;
  return fits ? kSuccess : kErrorInsufficientSize;
}

}  // namespace

extern "C" {

Return nvmlInit_v2() { return begin("nvmlInit_v2", read_control()); }
Return nvmlShutdown() { return kSuccess; }

const char* nvmlErrorString(Return code) {
  switch (code) {
    case kSuccess:
      return "The operation was successful";
    case kErrorNotSupported:
      return "Not Supported";
    case kErrorNotFound:
      return "Not Found";
    case kErrorDriverNotLoaded:
      return "Driver Not Loaded";
    case kErrorGpuIsLost:
      return "GPU is lost";
    default:
      return "Unknown Error";
  }
}

Return nvmlSystemGetDriverVersion(char* version, unsigned length) {
  const Control control = read_control();
  const Return code = begin("nvmlSystemGetDriverVersion", control);
  return code != kSuccess ? code : copy(control.driver, version, length);
}

Return nvmlDeviceGetCount_v2(unsigned* count) {
  const Control control = read_control();
  *count = static_cast<unsigned>(control.whole());
  return begin("nvmlDeviceGetCount_v2", control);
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* device) {
  const Control control = read_control();
  *device = handle_of(static_cast<int>(index));
  return begin("nvmlDeviceGetHandleByIndex_v2", control, *device);
}

Return nvmlDeviceGetHandleByUUID(const char* uuid, Device* device) {
  const Control control = read_control();
  if (const Return code = begin("nvmlDeviceGetHandleByUUID", control); code != kSuccess) return code;
  for (std::size_t i = 0; i < control.gpus.size(); ++i) {
    if (control.gpus[i].uuid != uuid) continue;
    *device = handle_of(static_cast<int>(i));
    return begin("nvmlDeviceGetHandleByUUID", control, *device);
  }
  return kErrorNotFound;
}

Return nvmlDeviceGetUUID(Device device, char* uuid, unsigned length) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetUUID", control, device);
  return code != kSuccess ? code : copy(gpu_of(control, device).uuid, uuid, length);
}

Return nvmlDeviceGetName(Device device, char* name, unsigned length) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetName", control, device);
  return code != kSuccess ? code : copy(gpu_of(control, device).name, name, length);
}

Return nvmlDeviceGetPciInfo_v3(Device device, Pci* pci) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetPciInfo_v3", control, device);
  if (code == kSuccess) fill_pci(gpu_of(control, device).pci, pci);
  return code;
}

Return nvmlDeviceGetMinorNumber(Device device, unsigned* minor) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetMinorNumber", control, device);
  if (code == kSuccess) *minor = gpu_of(control, device).minor;
  return code;
}

Return nvmlDeviceGetComputeMode(Device device, int* mode) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetComputeMode", control, device);
  if (code == kSuccess) *mode = gpu_of(control, device).mode;
  return code;
}

Return nvmlDeviceGetMemoryInfo(Device device, Memory* memory) {
  const Control control = read_control();
  if (const Return code = begin("nvmlDeviceGetMemoryInfo", control, device); code != kSuccess) return code;
  const StubGpu& gpu = gpu_of(control, device);
  memory->total = static_cast<unsigned long long>(gpu.memory_mib) * kMib;
  memory->used = static_cast<unsigned long long>(control.used(number_of(device)) + gpu.reserved_mib) * kMib;
  memory->free = memory->total - memory->used;
  return kSuccess;
}

Return nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2* memory) {
  const Control control = read_control();
  if (const Return code = begin("nvmlDeviceGetMemoryInfo_v2", control, device); code != kSuccess) return code;
  if (memory->version != kMemoryV2) return kErrorArgumentVersionMismatch;
  const StubGpu& gpu = gpu_of(control, device);
  memory->total = static_cast<unsigned long long>(gpu.memory_mib) * kMib;
  memory->reserved = static_cast<unsigned long long>(gpu.reserved_mib) * kMib;
  memory->used = static_cast<unsigned long long>(control.used(number_of(device))) * kMib;
  memory->free = memory->total - memory->used - memory->reserved;
  return kSuccess;
}

Return nvmlDeviceGetMigMode(Device device, unsigned* current, unsigned* pending) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetMigMode", control, device);
  if (code == kSuccess) *current = *pending = gpu_of(control, device).mig ? 1 : 0;
  return code;
}

Return nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned* count) {
  const Control control = read_control();
  *count = 7;
  return begin("nvmlDeviceGetMaxMigDeviceCount", control, device);
}

Return nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device* instance) {
  const Control control = read_control();
  if (const Return code = begin("nvmlDeviceGetMigDeviceHandleByIndex", control, device); code != kSuccess) {
    return code;
  }
  unsigned seen = 0;
  for (std::size_t i = 0; i < control.gpus.size(); ++i) {
    if (control.gpus[i].parent != number_of(device) || seen++ != index) continue;
    *instance = handle_of(static_cast<int>(i));
    return kSuccess;
  }
  return kErrorNotFound;
}

Return nvmlDeviceGetComputeRunningProcesses(Device, unsigned*, ProcessV1*) { return kErrorFunctionNotFound; }

Return nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned* count, ProcessV2* infos) {
  return processes("nvmlDeviceGetComputeRunningProcesses_v3", "compute", device, count, infos);
}

Return nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned* count, ProcessV2* infos) {
  return processes("nvmlDeviceGetGraphicsRunningProcesses_v3", "graphics", device, count, infos);
}

Return nvmlDeviceGetMPSComputeRunningProcesses_v3(Device device, unsigned* count, ProcessV2* infos) {
  return processes("nvmlDeviceGetMPSComputeRunningProcesses_v3", "mps", device, count, infos);
}

Return nvmlDeviceGetTopologyCommonAncestor(Device a, Device b, int* level) {
  const Control control = read_control();
  if (const Return code = begin("nvmlDeviceGetTopologyCommonAncestor", control, a); code != kSuccess)
    return code;
  const auto found = control.levels.find(std::minmax(number_of(a), number_of(b)));
  *level = found == control.levels.end() ? kTopologySystem : found->second;
  return kSuccess;
}

Return nvmlDeviceGetP2PStatus(Device a, Device, int, int* status) {
  const Control control = read_control();
  *status = kP2pStatusOk + 1;
  return begin("nvmlDeviceGetP2PStatus", control, a);
}

Return nvmlDeviceGetNvLinkState(Device device, unsigned link, int* active) {
  const Control control = read_control();
  const Return code = begin("nvmlDeviceGetNvLinkState", control, device);
  if (code == kSuccess) *active = neighbour(control, number_of(device), link) >= 0 ? kFeatureEnabled : 0;
  return code;
}

Return nvmlDeviceGetNvLinkRemotePciInfo_v2(Device device, unsigned link, Pci* pci) {
  const Control control = read_control();
  if (const Return code = begin("nvmlDeviceGetNvLinkRemotePciInfo_v2", control, device); code != kSuccess) {
    return code;
  }
  const int other = neighbour(control, number_of(device), link);
  if (other < 0 || other >= static_cast<int>(control.gpus.size())) return kErrorNotFound;
  fill_pci(control.gpus[static_cast<std::size_t>(other)].pci, pci);
  return kSuccess;
}

}  // extern "C"
