#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "queries.h"

namespace ebb::nvml {
namespace {

using devices::GpuProcess;
using devices::GpuUsage;
using nvml_abi::Device;

constexpr std::size_t kMostProcesses = 16'384;

using Found = std::map<pid_t, GpuProcess>;

void merge(Found& found, unsigned pid, unsigned long long bytes) {
  GpuProcess& process = found[static_cast<pid_t>(pid)];
  process.pid = static_cast<pid_t>(pid);
  if (bytes == nvml_abi::kNotAvailable) return;
  // A process that computes and draws is in both lists, with the same memory.
  process.mib = std::max(process.mib.value_or(0), static_cast<std::int64_t>(bytes >> 20U));
}

// One of the lists; NVML tells the size that it needs, which may have grown by the time of the next call.
template <typename Process>
nvml_abi::Return fill(nvml_abi::Return (*get)(Device, unsigned*, Process*), Device device, Found& found) {
  std::vector<Process> room(64);
  for (;;) {
    auto count = static_cast<unsigned>(room.size());
    const auto code = get(device, &count, room.data());
    if (code == nvml_abi::kErrorInsufficientSize && room.size() < kMostProcesses) {
      room.resize(std::max<std::size_t>(count, room.size()) * 2);
      continue;
    }
    if (code != nvml_abi::kSuccess) return code;
    room.resize(std::min<std::size_t>(count, room.size()));
    for (const Process& process : room) merge(found, process.pid, process.used_memory);
    return code;
  }
}

Result<void> processes(const Library& library, Device device, Found& found) {
  for (std::size_t kind = 0; kind < 3; ++kind) {
    nvml_abi::Return code = nvml_abi::kErrorFunctionNotFound;
    if (library.processes[kind] != nullptr) code = fill(library.processes[kind], device, found);
    if (code == nvml_abi::kErrorFunctionNotFound && library.processes_v1[kind] != nullptr) {
      code = fill(library.processes_v1[kind], device, found);
    }
    // Compute processes must be told; a card without graphics or MPS has no such lists.
    const bool may_lack =
        kind != 0 && (code == nvml_abi::kErrorNotSupported || code == nvml_abi::kErrorFunctionNotFound);
    if (code != nvml_abi::kSuccess && !may_lack)
      return library.error(code, "cannot list the processes on the GPU");
  }
  return {};
}

Result<void> memory(const Library& library, Device device, GpuUsage& usage) {
  if (library.memory_v2 != nullptr) {
    nvml_abi::MemoryV2 memory{};
    memory.version = nvml_abi::kMemoryV2;
    const auto code = library.memory_v2(device, &memory);
    if (code == nvml_abi::kSuccess) {
      usage.used_mib = static_cast<std::int64_t>(memory.used >> 20U);
      usage.total_mib = static_cast<std::int64_t>(memory.total >> 20U);
      return {};
    }
    if (code != nvml_abi::kErrorFunctionNotFound && code != nvml_abi::kErrorNotSupported &&
        code != nvml_abi::kErrorArgumentVersionMismatch) {
      return library.error(code, "cannot ask for the GPU's memory");
    }
  }
  nvml_abi::Memory memory{};
  if (const auto code = library.memory(device, &memory); code != nvml_abi::kSuccess) {
    return library.error(code, "cannot ask for the GPU's memory");
  }
  usage.used_mib = static_cast<std::int64_t>(memory.used >> 20U);
  usage.total_mib = static_cast<std::int64_t>(memory.total >> 20U);
  usage.includes_reserved = true;
  return {};
}

}  // namespace

Result<GpuUsage> usage(const Library& library, const std::string& uuid) {
  Device device = nullptr;
  if (const auto code = library.by_uuid(uuid.c_str(), &device); code != nvml_abi::kSuccess) {
    return library.error(code, "no GPU " + uuid);
  }
  GpuUsage result;
  result.uuid = uuid;
  std::array<char, nvml_abi::kDriverVersionSize> version{};
  if (library.driver_version(version.data(), version.size()) == nvml_abi::kSuccess) {
    result.driver = version.data();
  }
  // Processes first: memory that is still in use after its process has left the list then shows.
  Found found;
  if (auto listed = processes(library, device, found); !listed) return std::move(listed).error();
  if (auto asked = memory(library, device, result); !asked) return std::move(asked).error();
  for (const auto& [pid, process] : found) result.processes.push_back(process);
  return result;
}

}  // namespace ebb::nvml
