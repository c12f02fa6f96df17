#include <algorithm>

#include "core.h"
#include "ebb/base/units.h"

namespace ebb::engine {
namespace {

constexpr const char* kForEver = "; it would wait for ever, so it was not queued";
// Shapes come from small numbers but for --gpu-ids, of which a server with 16 GPUs could see 65,535 sets.
constexpr std::size_t kMaxGroups = 4096;

Error impossible(std::string what, std::string pointer) {
  return {Errc::impossible, std::move(what) + kForEver, std::move(pointer), "impossible-request"};
}

std::string list(const std::vector<int>& ids) {
  std::string text;
  for (const int id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

std::string plural(std::size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

Result<void> check_gpus(const Demand& demand, const Machine& machine) {
  const std::string has = "this server has " + std::to_string(machine.gpus.size());
  const int total = static_cast<int>(machine.gpus.size());
  if (demand.gpus < 0 || demand.gpus > total)
    return impossible("--gpus " + std::to_string(demand.gpus) + ": " + has, "/gpus");
  const auto& ids = demand.gpu_ids;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string option = "--gpu-ids " + list(ids) + ": ";
    const std::string pointer = "/gpu_ids/" + std::to_string(i);
    if (std::ranges::find(machine.gpus, ids[i], &Machine::Gpu::id) == machine.gpus.end()) {
      std::string known;
      for (const auto& gpu : machine.gpus) known += " " + std::to_string(gpu.id);
      return impossible(option + "this server has no GPU " + std::to_string(ids[i]) +
                            (known.empty() ? " (it has none)" : " (it has" + known + ")"),
                        pointer);
    }
    if (std::find(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i), ids[i]) !=
        ids.begin() + static_cast<std::ptrdiff_t>(i)) {
      return Error{Errc::impossible,
                   option + "GPU " + std::to_string(ids[i]) + " is named twice; name it once", pointer,
                   "impossible-request"};
    }
  }
  if (!ids.empty() && demand.gpus != 0 && static_cast<std::size_t>(demand.gpus) != ids.size()) {
    return Error{Errc::impossible,
                 "--gpus " + std::to_string(demand.gpus) + " with --gpu-ids " + list(ids) + ": that names " +
                     plural(ids.size(), "GPU", "GPUs") + "; leave --gpus out",
                 "/gpus", "impossible-request"};
  }
  return {};
}

Result<void> check_rest(const Demand& demand, const Machine& machine) {
  if (demand.ports < 0 || demand.ports > static_cast<int>(machine.ports.size())) {
    std::string has = "this server's range has " + std::to_string(machine.ports.size());
    if (!machine.ports.empty())
      has += " (" + std::to_string(machine.ports.front()) + "-" + std::to_string(machine.ports.back()) + ")";
    return impossible("--ports " + std::to_string(demand.ports) + ": " + has, "/ports");
  }
  if (demand.memory_bytes < 0 || demand.memory_bytes > machine.memory_bytes) {
    return impossible("--memory " + format_size(demand.memory_bytes) + ": this server has " +
                          format_size(machine.memory_bytes),
                      "/memory_bytes");
  }
  return {};
}

}  // namespace

Result<void> Engine::State::check(const JobInfo& job) const {
  if (auto fits = check_gpus(job.demand, pool_.machine()); !fits) return fits;
  if (auto fits = check_rest(job.demand, pool_.machine()); !fits) return fits;
  if (shutdown_ != Ending::no)
    return Error{Errc::unavailable, "the daemon is ending and takes no new job; submit again when it is back",
                 "", "draining"};
  if (draining_)
    return Error{Errc::unavailable,
                 "the daemon is draining and takes no new job; an admin can end that by 'ebb resume'", "",
                 "draining"};
  if (queue_.counted() >= limits_.max_queued) {
    return Error{Errc::exhausted,
                 "the queue is full: " + std::to_string(queue_.counted()) + " jobs wait, and the limit is " +
                     std::to_string(limits_.max_queued) + " ([queue] max_queued); submit again later",
                 "", "queue-full"};
  }
  if (queue_.groups() >= kMaxGroups && !queue_.find(shape_of(job.demand))) {
    return Error{
        Errc::exhausted,
        "the queue is full: its jobs ask for " + std::to_string(queue_.groups()) +
            " different sets of GPUs, ports and memory, and no more are kept apart; submit again later",
        "", "queue-full"};
  }
  if (const auto has = queue_.jobs_of(job.user); has >= limits_.max_per_user) {
    return Error{Errc::exhausted,
                 job.user + " has " + std::to_string(has) + " jobs queued or running, and the limit is " +
                     std::to_string(limits_.max_per_user) +
                     " ([queue] max_per_user); wait for some of them to end",
                 "", "over-quota"};
  }
  return {};
}

}  // namespace ebb::engine
