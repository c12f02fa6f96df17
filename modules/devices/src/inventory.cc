#include "ebb/devices/inventory.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "ebb/base/text.h"
#include "errors.h"
#include "numbers.h"

namespace ebb::devices {
namespace {

Error bad_choice(std::string_view text, const std::string& why) {
  return fail(Errc::invalid, "'" + printable(text.substr(0, 60)) + "': " + why);
}

std::vector<Gpu> declared_gpus(int count) {
  std::vector<Gpu> gpus;
  for (int id = 0; id < count; ++id) {
    Gpu gpu;
    gpu.id = id;
    gpu.kind = GpuKind::declared;
    gpu.uuid = "declared-" + std::to_string(id);
    gpu.name = "declared";
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::string ids_of(const std::vector<Gpu>& gpus) {
  std::string text;
  for (const Gpu& gpu : gpus) text += (text.empty() ? "" : " ") + std::to_string(gpu.id);
  return text.empty() ? "none" : text;
}

// Takes the GPUs at these positions of `seen`, with their part of the matrix.
void offer(const NvmlList& seen, const std::vector<std::size_t>& positions, Inventory& inventory) {
  for (const std::size_t from : positions) {
    inventory.gpus.push_back(seen.gpus[from]);
    std::vector<int> row;
    for (const std::size_t to : positions) {
      const bool known = from < seen.closeness.size() && to < seen.closeness[from].size();
      row.push_back(known ? seen.closeness[from][to] : 0);
    }
    inventory.closeness.push_back(std::move(row));
  }
}

Result<std::vector<std::size_t>> listed(const std::vector<int>& ids, const NvmlList& seen) {
  std::vector<std::size_t> positions;
  for (const int id : ids) {
    const auto found =
        std::find_if(seen.gpus.begin(), seen.gpus.end(), [&](const Gpu& gpu) { return gpu.id == id; });
    if (found == seen.gpus.end()) {
      return fail(Errc::invalid, "--gpus names GPU " + std::to_string(id) + ", but this machine has " +
                                     ids_of(seen.gpus) + "; 'nvidia-smi -L' lists them");
    }
    if (!found->refused.empty()) {
      return fail(Errc::invalid,
                  "--gpus names GPU " + std::to_string(id) + ", which cannot be leased: " + found->refused);
    }
    positions.push_back(static_cast<std::size_t>(found - seen.gpus.begin()));
  }
  return positions;
}

}  // namespace

Result<GpuChoice> parse_gpu_choice(std::string_view text) {
  GpuChoice choice;
  if (text == "auto") return choice;
  if (text == "none") {
    choice.kind = GpuChoice::Kind::none;
    return choice;
  }
  constexpr std::string_view kDeclared = "declared:";
  if (text.starts_with(kDeclared)) {
    const auto count = parse_number<int>(text.substr(kDeclared.size()));
    if (!count || *count < 1 || *count > kMaxDeclaredGpus) {
      return bad_choice(text,
                        "give a number from 1 to " + std::to_string(kMaxDeclaredGpus) + ", as in declared:4");
    }
    choice.kind = GpuChoice::Kind::declared;
    choice.declared = *count;
    return choice;
  }
  choice.kind = GpuChoice::Kind::listed;
  for (const std::string_view part : split(text, ',')) {
    const auto id = parse_number<int>(part);
    if (!id || *id < 0) {
      return bad_choice(text, "'" + printable(part.substr(0, 20)) +
                                  "' is no GPU's number; give auto, none, 0,1,2,3 or declared:4");
    }
    if (std::find(choice.ids.begin(), choice.ids.end(), *id) != choice.ids.end()) {
      return bad_choice(text, "GPU " + std::to_string(*id) + " is named twice");
    }
    if (choice.ids.size() >= std::size_t{kMaxDeclaredGpus}) return bad_choice(text, "too many GPUs");
    choice.ids.push_back(*id);
  }
  std::sort(choice.ids.begin(), choice.ids.end());
  return choice;
}

Result<Inventory> take_inventory(const GpuChoice& choice, const Result<NvmlList>& seen) {
  Inventory inventory;
  if (choice.kind == GpuChoice::Kind::none) return inventory;
  if (choice.kind == GpuChoice::Kind::declared) {
    const auto count = static_cast<std::size_t>(choice.declared);
    inventory.gpus = declared_gpus(choice.declared);
    inventory.closeness.assign(count, std::vector<int>(count));
    return inventory;
  }
  if (!seen) {
    if (choice.kind == GpuChoice::Kind::listed) {
      return fail(seen.error().code, "the GPUs of --gpus cannot be asked: " + seen.error().message);
    }
    inventory.notes.push_back("no GPUs: " + seen.error().message);
    return inventory;
  }
  inventory.driver = seen->driver;
  inventory.machine = seen->gpus;
  std::vector<std::size_t> positions;
  if (choice.kind == GpuChoice::Kind::listed) {
    auto chosen = listed(choice.ids, *seen);
    if (!chosen) return std::move(chosen).error();
    positions = std::move(*chosen);
  } else {
    for (std::size_t i = 0; i < seen->gpus.size(); ++i) {
      const Gpu& gpu = seen->gpus[i];
      if (gpu.refused.empty()) {
        positions.push_back(i);
      } else {
        inventory.notes.push_back("GPU " + label(gpu) + " is not offered: " + gpu.refused);
      }
    }
  }
  offer(*seen, positions, inventory);
  return inventory;
}

std::vector<std::string> masked_nodes(const Inventory& inventory, std::span<const int> leased,
                                      std::span<const int> minors) {
  std::set<int> needed;
  bool real = inventory.gpus.empty();
  for (const Gpu& gpu : inventory.gpus) {
    real = real || gpu.kind != GpuKind::declared;
    if (std::find(leased.begin(), leased.end(), gpu.id) != leased.end()) needed.insert(gpu.minor);
  }
  std::vector<std::string> masked;
  // Declared ids say nothing about which node is whose; to mask them all would take away every real GPU.
  if (!real) return masked;
  for (const int minor : minors) {
    if (!needed.contains(minor)) masked.push_back("/dev/nvidia" + std::to_string(minor));
  }
  return masked;
}

std::vector<int> device_minors(const std::string& folder) {
  constexpr std::string_view kPrefix = "nvidia";
  std::vector<int> minors;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const auto minor = parse_number<int>(std::string_view(name).substr(kPrefix.size()));
    if (minor && *minor >= 0) minors.push_back(*minor);
  }
  std::sort(minors.begin(), minors.end());
  return minors;
}

}  // namespace ebb::devices
