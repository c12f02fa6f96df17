#include <algorithm>

#include "core.h"
#include "ebb/base/units.h"

// Why a job waits: what it lacks, who has it, and until when at the most.
namespace ebb::engine {
namespace {

using model::Blocker;
using model::BlockerKind;

std::string numbers(const std::vector<int>& ids) {
  std::string text;
  for (const int id : ids) text += " " + std::to_string(id);
  return text;
}

std::string counted(std::int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string uses_text(const Device& gpu) {
  std::vector<std::string> uses;
  uses.reserve(gpu.outside.size());
  for (const auto& use : gpu.outside)
    uses.push_back(use.user + "'s process " + std::to_string(use.pid) + " with " + std::to_string(use.mib) +
                   " MiB");
  if (uses.empty()) return gpu.why;
  return join(uses);
}

}  // namespace

std::string Engine::State::holder_text(const Job& holder, const std::vector<int>& gpus) const {
  std::string text = holder.user->name + "'s " + holder.id.str() + " holds" + numbers(gpus);
  if (holder.releasing()) return text + " (being released)";
  const auto* const running = std::get_if<Boxed<Running>>(&holder.phase);
  if (running && (*running)->time_out && *(*running)->time_out > now_.boot)
    text += " (for at most " + format_duration(*(*running)->time_out - now_.boot) + ")";
  return text;
}

void Engine::State::explain_gpus(const Job& job, model::Why& why) const {
  const Shape& shape = job.group->shape;
  if (shape.gpus == 0) return;
  std::map<JobId, std::vector<int>> holders;
  std::vector<Blocker> strange;
  int free = 0;
  int kept = 0;
  const bool is_the_one = pool_.held_for() == job.id;
  for (std::size_t i = 0; i < pool_.gpus().size(); ++i) {
    const Device& gpu = pool_.gpus()[i];
    if (!shape.gpu_ids.empty() && !std::ranges::binary_search(shape.gpu_ids, gpu.id)) continue;
    if (gpu.holder) {
      if (gpu.holder != job.id) holders[*gpu.holder].push_back(gpu.id);
    } else if (gpu.known == model::DeviceState::free) {
      if (pool_.gpu_is_held(i) && !is_the_one)
        ++kept;
      else
        ++free;
    } else {
      Blocker blocker;
      blocker.kind =
          gpu.known == model::DeviceState::outside ? BlockerKind::outside : BlockerKind::quarantined;
      blocker.need = 1;
      const std::string name = "GPU " + std::to_string(gpu.id);
      if (gpu.known == model::DeviceState::outside)
        blocker.text = name + " is used from outside: " + uses_text(gpu);
      else if (gpu.known == model::DeviceState::unknown)
        blocker.text = name + " does not answer: " + gpu.why;
      else
        blocker.text = name + " is quarantined: " + gpu.why;
      strange.push_back(std::move(blocker));
    }
  }
  if (free >= shape.gpus) return;
  Blocker blocker;
  blocker.kind = BlockerKind::gpu;
  blocker.need = shape.gpus;
  blocker.free = free;
  blocker.text =
      "waits for " + (shape.gpu_ids.empty() ? counted(shape.gpus, "GPU") : "GPU" + numbers(shape.gpu_ids));
  std::vector<std::string> parts;
  for (auto& [id, gpus] : holders) {
    const Job& holder = *queue_.find(id);
    parts.push_back(holder_text(holder, gpus));
    blocker.held_by.push_back({id, holder.user->name, std::move(gpus)});
  }
  if (kept > 0) {
    const Job& first = *queue_.find(*pool_.held_for());
    parts.push_back(counted(kept, "free one") + (kept == 1 ? " is" : " are") + " kept for " +
                    first.user->name + "'s " + first.id.str() + ", which has waited longest");
    blocker.held_by.push_back({first.id, first.user->name, {}});
  }
  if (!parts.empty()) blocker.text += "; " + join(parts);
  if (!pool_.possible(shape, 0))
    blocker.text += "; this server now has only " + std::to_string(pool_.gpus().size());
  why.blockers.push_back(std::move(blocker));
  for (auto& one : strange) why.blockers.push_back(std::move(one));
}

void Engine::State::explain_ports(const Job& job, model::Why& why) const {
  const int need = job.group->shape.ports;
  if (need <= pool_.free_ports(job.id)) return;
  Blocker blocker;
  blocker.kind = BlockerKind::port;
  blocker.need = need;
  blocker.free = pool_.free_ports(job.id);
  std::set<JobId> holders;
  int strange = 0;
  for (const Device& port : pool_.ports()) {
    if (port.holder && port.holder != job.id) holders.insert(*port.holder);
    if (!port.holder && !port.available()) ++strange;
  }
  std::vector<std::string> parts;
  for (const JobId id : holders) {
    const Job& holder = *queue_.find(id);
    blocker.held_by.push_back({id, holder.user->name, {}});
    parts.push_back(holder.user->name + "'s " + id.str());
  }
  blocker.text = "waits for " + counted(need, "port");
  if (!parts.empty()) blocker.text += "; held by " + join(parts);
  if (strange > 0) blocker.text += "; " + counted(strange, "port") + " of the range used from outside";
  why.blockers.push_back(std::move(blocker));
}

void Engine::State::explain_memory(const Job& job, model::Why& why) const {
  if (job.memory_bytes <= pool_.free_memory(job.id)) return;
  Blocker blocker;
  blocker.kind = BlockerKind::memory;
  blocker.need = job.memory_bytes;
  blocker.free = pool_.free_memory(job.id);
  std::vector<std::string> parts;
  for (const auto& [order, holder] : active_) {
    const std::int64_t has = holder->attempt()->leases.memory_bytes;
    if (has == 0) continue;
    blocker.held_by.push_back({holder->id, holder->user->name, {}});
    parts.push_back(holder->user->name + "'s " + holder->id.str() + " holds " + format_size(has));
  }
  blocker.text = "waits for " + format_size(job.memory_bytes) + " of memory";
  if (!parts.empty()) blocker.text += "; " + join(parts);
  why.blockers.push_back(std::move(blocker));
}

std::optional<model::Why> Engine::State::why(JobId id) const {
  const Job* const job = queue_.find(id);
  if (!job) return std::nullopt;
  model::Why why;
  why.state = find(id)->state;
  if (why.state != model::JobState::queued) return why;
  why.position = position(id);
  if (std::holds_alternative<Boxed<Acquiring>>(job->phase)) return why;
  if (draining()) {
    why.blockers.push_back(
        {BlockerKind::drain, 0, 0, {}, "the daemon is draining: nothing is started until 'ebb resume'"});
  }
  const auto occupied = static_cast<std::int64_t>(active_.size() + acquiring_.size());
  if (occupied >= limits_.max_running) {
    why.blockers.push_back({BlockerKind::limit,
                            1,
                            0,
                            {},
                            "waits for one of the " + std::to_string(limits_.max_running) +
                                " jobs that may run at once ([queue] max_running)"});
  }
  explain_gpus(*job, why);
  explain_ports(*job, why);
  explain_memory(*job, why);
  if (why.blockers.empty()) {
    // It fits, but one that asks for as much stands before it and is being started.
    why.blockers.push_back({BlockerKind::limit, 1, 0, {}, "waits for the jobs before it to be started"});
  }
  return why;
}

}  // namespace ebb::engine
