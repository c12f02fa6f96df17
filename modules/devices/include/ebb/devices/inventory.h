#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/devices/gpu.h"

namespace ebb::devices {

inline constexpr int kMaxDeclaredGpus = 1024;

/// `--gpus` of `ebb serve`.
struct GpuChoice {
  enum class Kind { automatic, none, listed, declared };
  Kind kind = Kind::automatic;
  std::vector<int> ids;  ///< listed: ascending, each once
  int declared = 0;      ///< how many
};
/// "auto", "none", "0,1,2,3", "declared:4"; Errc::invalid says which part is wrong.
[[nodiscard]] Result<GpuChoice> parse_gpu_choice(std::string_view text);

/// What this daemon leases, fixed for its life.
struct Inventory {
  std::string driver;                       ///< version; empty without one
  std::vector<Gpu> gpus;                    ///< offered to jobs, ascending by id
  std::vector<std::vector<int>> closeness;  ///< of `gpus`, as in NvmlList
  std::vector<Gpu> machine;                 ///< all that the driver sees, the refused ones too
  std::vector<std::string> notes;           ///< for the log and `ebb doctor`: what is not offered, and why
};

/// What the choice makes of the machine. `seen`: the answer of NvmlClient::list(), not looked at for `none`
/// and `declared`. Fails when a listed GPU does not exist or is refused, and when GPUs are listed and the
/// driver does not answer. `automatic` without a driver: no GPUs, and a note.
[[nodiscard]] Result<Inventory> take_inventory(const GpuChoice& choice, const Result<NvmlList>& seen);

/// The device nodes that a job with these GPUs must not see: "/dev/nvidia3" of each GPU that it does not
/// lease, offered or not. `minors`: the N of all /dev/nvidiaN there are (see device_minors()). Nothing for
/// declared GPUs, which have no node. A MIG instance needs its parent's node.
[[nodiscard]] std::vector<std::string> masked_nodes(const Inventory& inventory, std::span<const int> leased,
                                                    std::span<const int> minors);
/// The N of the machine's /dev/nvidiaN, ascending. `folder` is for tests.
[[nodiscard]] std::vector<int> device_minors(const std::string& folder = "/dev");

}  // namespace ebb::devices
