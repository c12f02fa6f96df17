#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ebb::devices {

enum class GpuKind {
  physical,  ///< a whole GPU
  mig,       ///< a MIG instance of one
  declared,  ///< an id that the administrator declared: no driver is asked about it
};

/// One GPU as the daemon sees it. Plain data.
struct Gpu {
  int id = 0;  ///< what --gpu-ids means: NVML's index; MIG instances come after the last physical one
  GpuKind kind = GpuKind::physical;
  std::string uuid;  ///< "GPU-…", "MIG-…", "declared-0"
  std::string name;
  std::string pci;  ///< as sysfs writes it, "0000:3b:00.0"; empty where there is none
  std::int64_t memory_mib = 0;
  int numa_node = -1;
  int minor = -1;       ///< N of /dev/nvidiaN; a MIG instance has its parent's
  int parent = -1;      ///< id of the GPU that a MIG instance is a part of
  std::string refused;  ///< why it is not offered to jobs, with the way out; empty: it is offered
  bool operator==(const Gpu&) const = default;
};

/// What stands for this GPU in CUDA_VISIBLE_DEVICES: the index, for MIG the UUID.
[[nodiscard]] std::string cuda_name(const Gpu& gpu);
/// What names the GPU in reports and messages: "0", for MIG "8 (MIG-…)".
[[nodiscard]] std::string label(const Gpu& gpu);

/// A process that the driver sees on a GPU.
struct GpuProcess {
  pid_t pid = 0;                    ///< as in the initial PID namespace
  std::optional<std::int64_t> mib;  ///< none: the driver does not tell
  bool operator==(const GpuProcess&) const = default;
};

/// What one look at a GPU showed.
struct GpuUsage {
  std::string uuid;
  std::string driver;         ///< its version
  std::int64_t used_mib = 0;  ///< allocated, rounded down as nvidia-smi does
  std::int64_t total_mib = 0;
  bool includes_reserved = false;     ///< an old driver: `used_mib` counts what the driver keeps for itself
  std::vector<GpuProcess> processes;  ///< each pid once, ascending
  bool operator==(const GpuUsage&) const = default;
};

/// All that the driver tells about the machine.
struct NvmlList {
  std::string driver;     ///< its version
  std::vector<Gpu> gpus;  ///< physical ones ascending by id, then MIG instances; `refused` where unusable
  /// How close two of `gpus` are, by position, symmetric: 100 for each NVLink between them, else 4 same PCIe
  /// switch, 3 several switches, 2 same host bridge, 1 same NUMA node, 0 farther or not known.
  std::vector<std::vector<int>> closeness;
  bool operator==(const NvmlList&) const = default;
};

}  // namespace ebb::devices
