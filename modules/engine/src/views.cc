#include <algorithm>

#include "core.h"

namespace ebb::engine {

std::optional<JobView> Engine::State::find(JobId id) const {
  const Job* const job = queue_.find(id);
  if (!job) return std::nullopt;
  JobView view;
  view.owner_connected = job->owner_connected;
  const bool acquiring = std::holds_alternative<Boxed<Acquiring>>(job->phase);
  view.attempt = static_cast<int>(job->attempts) - int{acquiring};  // it has no attempt before it is on disk
  if (const Attempt* const attempt = job->attempt()) {
    view.leases = attempt->leases;
    view.pid = attempt->pid;
    view.started_at = attempt->started_at;
    if (attempt->stop) view.stop_reason = attempt->stop->reason;
  }
  if (std::holds_alternative<Boxed<Starting>>(job->phase)) view.state = model::JobState::starting;
  if (std::holds_alternative<Boxed<Running>>(job->phase)) view.state = model::JobState::running;
  if (job->releasing()) view.state = model::JobState::releasing;
  if (const auto* const ended = std::get_if<Boxed<Releasing>>(&job->phase))
    view.stop_reason = (*ended)->reason;
  return view;
}

std::optional<std::int64_t> Engine::State::position(JobId id) const {
  const Job* const job = queue_.find(id);
  if (!job || job->attempt()) return std::nullopt;
  return queue_.position(*job);
}

model::Devices Engine::State::devices() const {
  const auto describe = [this](const Device& device, auto& view) {
    view.state = device.known;
    if (!device.why.empty()) view.why = device.why;
    if (!device.holder) return;
    const Job* const job = queue_.find(*device.holder);
    view.job = device.holder;
    view.user = job->user->name;
    view.state = job->releasing() ? model::DeviceState::releasing : model::DeviceState::leased;
  };
  model::Devices all;
  for (std::size_t i = 0; i < pool_.gpus().size(); ++i) {
    const Device& device = pool_.gpus()[i];
    model::Gpu gpu;
    gpu.id = device.id;
    describe(device, gpu);
    if (!device.outside.empty()) gpu.outside = device.outside;
    if (const int node = pool_.machine().gpus[i].numa_node; node >= 0) gpu.numa_node = node;
    all.gpus.push_back(std::move(gpu));
  }
  for (const Device& device : pool_.ports()) {
    model::Port port;
    port.port = device.id;
    describe(device, port);
    all.ports.push_back(std::move(port));
  }
  return all;
}

std::vector<JobId> Engine::State::active() const {
  std::vector<JobId> ids;
  ids.reserve(active_.size());
  for (const auto& [order, job] : active_) ids.push_back(job->id);
  return ids;
}

}  // namespace ebb::engine
