#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "queries.h"

namespace ebb::nvml {
namespace {

using devices::Gpu;
using devices::GpuKind;
using devices::NvmlList;
using nvml_abi::Device;

std::string text_of(nvml_abi::DeviceGetString* get, Device device) {
  std::array<char, 96> buffer{};
  if (get == nullptr || get(device, buffer.data(), buffer.size()) != nvml_abi::kSuccess) return {};
  buffer.back() = 0;
  return buffer.data();
}

// NVML writes "00000000:3B:00.0" where sysfs has "0000:3b:00.0".
std::string sysfs_name(std::string bus_id) {
  std::transform(bus_id.begin(), bus_id.end(), bus_id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (bus_id.find(':') == 8 && bus_id.starts_with("0000")) bus_id.erase(0, 4);
  return bus_id;
}

std::string pci_of(const nvml_abi::Pci& pci) {
  return sysfs_name(std::string(pci.bus_id, std::find(pci.bus_id, pci.bus_id + sizeof pci.bus_id, '\0')));
}

int numa_of(const std::string& pci) {
  // The stand-in of the tests has no devices in sysfs and shows a folder of its own.
  const char* root = std::getenv("EBB_SYSFS_PCI");
  std::ifstream file(std::filesystem::path(root != nullptr ? root : "/sys/bus/pci/devices") / pci /
                     "numa_node");
  int node = -1;
  return !pci.empty() && file >> node ? node : -1;
}

std::int64_t memory_mib(const Library& library, Device device) {
  nvml_abi::Memory memory{};
  if (library.memory(device, &memory) != nvml_abi::kSuccess) return 0;
  return static_cast<std::int64_t>(memory.total >> 20U);
}

// MPS keeps one process with the memory of all its clients on the GPU: what is left of a job cannot be told
// from what is another's.
bool has_mps(const Library& library, Device device) {
  unsigned count = 0;
  if (library.processes[2] == nullptr) return false;
  return library.processes[2](device, &count, nullptr) == nvml_abi::kErrorInsufficientSize && count > 0;
}

bool mig_is_on(const Library& library, Device device) {
  unsigned current = 0;
  unsigned pending = 0;
  return library.mig_mode != nullptr && library.mig_mode(device, &current, &pending) == nvml_abi::kSuccess &&
         current == 1;
}

std::string why_refused(const Library& library, Device device, const Gpu& gpu) {
  if (gpu.uuid.empty()) return "the driver does not tell its UUID";
  int mode = 0;
  if (library.compute_mode != nullptr && library.compute_mode(device, &mode) == nvml_abi::kSuccess &&
      mode == nvml_abi::kComputeModeProhibited) {
    return "its compute mode is PROHIBITED; 'nvidia-smi -c DEFAULT' allows jobs on it";
  }
  if (has_mps(library, device)) {
    return "MPS runs on it, under which nobody can tell what a job has left; stop it with "
           "'echo quit | nvidia-cuda-mps-control'";
  }
  return {};
}

Gpu describe(const Library& library, Device device, int id) {
  Gpu gpu;
  gpu.id = id;
  gpu.uuid = text_of(library.uuid, device);
  gpu.name = text_of(library.name, device);
  nvml_abi::Pci pci{};
  if (library.pci != nullptr && library.pci(device, &pci) == nvml_abi::kSuccess) gpu.pci = pci_of(pci);
  gpu.memory_mib = memory_mib(library, device);
  gpu.numa_node = numa_of(gpu.pci);
  unsigned minor = 0;
  if (library.minor != nullptr && library.minor(device, &minor) == nvml_abi::kSuccess) {
    gpu.minor = static_cast<int>(minor);
  }
  gpu.refused = why_refused(library, device, gpu);
  return gpu;
}

std::vector<Gpu> mig_instances(const Library& library, Device parent, const Gpu& whole) {
  std::vector<Gpu> found;
  unsigned most = 0;
  if (library.max_mig == nullptr || library.mig_by_index == nullptr ||
      library.max_mig(parent, &most) != nvml_abi::kSuccess) {
    return found;
  }
  for (unsigned i = 0; i < std::min(most, 64U); ++i) {
    Device instance = nullptr;
    if (library.mig_by_index(parent, i, &instance) != nvml_abi::kSuccess) continue;  // gaps are usual
    Gpu gpu = whole;
    gpu.kind = GpuKind::mig;
    gpu.uuid = text_of(library.uuid, instance);
    gpu.name = text_of(library.name, instance);
    gpu.memory_mib = memory_mib(library, instance);
    gpu.parent = whole.id;
    if (gpu.refused.empty() && gpu.uuid.empty()) gpu.refused = "the driver does not tell its UUID";
    found.push_back(std::move(gpu));
  }
  return found;
}

struct Seen {
  Device device = nullptr;
  std::string pci;
};

int active_links(const Library& library, const Seen& from, const Seen& to) {
  int direct = 0;
  int active = 0;
  for (unsigned link = 0; link < nvml_abi::kMaxLinks; ++link) {
    int state = 0;
    if (library.link_state(from.device, link, &state) != nvml_abi::kSuccess ||
        state != nvml_abi::kFeatureEnabled) {
      continue;
    }
    ++active;
    nvml_abi::Pci remote{};
    if (library.link_remote_pci(from.device, link, &remote) == nvml_abi::kSuccess &&
        pci_of(remote) == to.pci) {
      ++direct;
    }
  }
  if (direct > 0) return direct;
  // Through NVSwitch the remote end is the switch; then all links lead to every GPU that has peer access.
  int status = -1;
  const bool reachable =
      active > 0 && library.p2p_status != nullptr &&
      library.p2p_status(from.device, to.device, nvml_abi::kP2pCapsNvlink, &status) == nvml_abi::kSuccess &&
      status == nvml_abi::kP2pStatusOk;
  return reachable ? active : 0;
}

int closeness(const Library& library, const Seen& a, const Seen& b) {
  if (library.link_state != nullptr && library.link_remote_pci != nullptr && !a.pci.empty() &&
      !b.pci.empty()) {
    const int links = std::min(active_links(library, a, b), active_links(library, b, a));
    if (links > 0) return links * 100;
  }
  int level = nvml_abi::kTopologySystem;
  if (library.common_ancestor == nullptr ||
      library.common_ancestor(a.device, b.device, &level) != nvml_abi::kSuccess) {
    const int here = numa_of(a.pci);
    return here >= 0 && here == numa_of(b.pci) ? 1 : 0;
  }
  if (level <= nvml_abi::kTopologySingle) return 4;
  if (level <= nvml_abi::kTopologyMultiple) return 3;
  if (level <= nvml_abi::kTopologyHostBridge) return 2;
  return level <= nvml_abi::kTopologyNode ? 1 : 0;
}

}  // namespace

Result<NvmlList> list(const Library& library) {
  NvmlList result;
  std::array<char, nvml_abi::kDriverVersionSize> version{};
  if (const auto code = library.driver_version(version.data(), version.size()); code != nvml_abi::kSuccess) {
    return library.error(code, "cannot ask for the driver's version");
  }
  result.driver = version.data();
  unsigned count = 0;
  if (const auto code = library.count(&count); code != nvml_abi::kSuccess) {
    return library.error(code, "cannot count the GPUs");
  }
  std::vector<Seen> seen;
  std::vector<Gpu> instances;
  for (unsigned i = 0; i < std::min(count, 64U); ++i) {
    Device device = nullptr;
    if (const auto code = library.by_index(i, &device); code != nvml_abi::kSuccess) {
      Gpu lost;
      lost.id = static_cast<int>(i);
      lost.refused = "the driver cannot reach it: " + library.text(code);
      result.gpus.push_back(std::move(lost));
      seen.push_back({});
      continue;
    }
    Gpu gpu = describe(library, device, static_cast<int>(i));
    if (mig_is_on(library, device)) {
      for (Gpu& instance : mig_instances(library, device, gpu)) instances.push_back(std::move(instance));
      gpu.refused = "MIG is on: its instances are offered in its place";
    }
    seen.push_back({.device = device, .pci = gpu.pci});
    result.gpus.push_back(std::move(gpu));
  }
  const std::size_t whole = result.gpus.size();
  for (Gpu& instance : instances) {
    instance.id = static_cast<int>(result.gpus.size());
    result.gpus.push_back(std::move(instance));
  }
  result.closeness.assign(result.gpus.size(), std::vector<int>(result.gpus.size()));
  for (std::size_t a = 0; a < whole; ++a) {
    for (std::size_t b = a + 1; b < whole; ++b) {
      if (seen[a].device == nullptr || seen[b].device == nullptr) continue;
      result.closeness[a][b] = result.closeness[b][a] = closeness(library, seen[a], seen[b]);
    }
  }
  return result;
}

}  // namespace ebb::nvml
