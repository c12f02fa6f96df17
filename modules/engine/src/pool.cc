#include "pool.h"

#include <algorithm>

#include "topology.h"

namespace ebb::engine {
namespace {

// What holds a quarantined GPU back is watched by the attempt that left it there. A port has no such attempt:
// nothing of it is left but a listener, which anybody can see.
bool is_strange(bool is_port, model::DeviceState state) {
  return state == model::DeviceState::outside || state == model::DeviceState::unknown ||
         (is_port && state == model::DeviceState::quarantined);
}

}  // namespace

Pool::Pool(Machine machine) : machine_(std::move(machine)) {
  for (const auto& gpu : machine_.gpus) gpus_.emplace_back().id = gpu.id;
  for (const int port : machine_.ports) ports_.emplace_back().id = port;
  for (std::size_t i = 0; i < ports_.size(); ++i) free_ports_.emplace(0, i);
  held_gpus_.assign(gpus_.size(), false);
}

std::optional<std::size_t> Pool::gpu_position(int id) const {
  const auto it = std::ranges::lower_bound(gpus_, id, {}, &Device::id);
  if (it == gpus_.end() || it->id != id) return std::nullopt;
  return static_cast<std::size_t>(it - gpus_.begin());
}
std::optional<std::size_t> Pool::port_position(int number) const {
  const auto it = std::ranges::lower_bound(ports_, number, {}, &Device::id);
  if (it == ports_.end() || it->id != number) return std::nullopt;
  return static_cast<std::size_t>(it - ports_.begin());
}

std::optional<std::vector<int>> Pool::choose(const Shape& shape) const {
  std::vector<int> chosen;
  if (!shape.gpu_ids.empty()) {
    for (const int id : shape.gpu_ids) {
      const auto position = gpu_position(id);
      if (!position || !gpus_[*position].available() || held_gpus_[*position]) return std::nullopt;
      chosen.push_back(static_cast<int>(*position));
    }
    return chosen;
  }
  if (shape.gpus == 0) return chosen;
  if (free_gpus() < shape.gpus) return std::nullopt;
  for (std::size_t i = 0; i < gpus_.size(); ++i)
    if (gpus_[i].available() && !held_gpus_[i]) chosen.push_back(static_cast<int>(i));
  return choose_gpus(machine_, chosen, shape.gpus);
}

std::optional<Leases> Pool::take(JobId job, const Shape& shape, std::int64_t memory_bytes) {
  if (shape.ports > free_ports()) return std::nullopt;
  if (memory_bytes > 0 && memory_bytes > free_memory()) return std::nullopt;
  const auto chosen = choose(shape);
  if (!chosen) return std::nullopt;
  Leases leases;
  for (const int position : *chosen) {
    Device& gpu = gpus_[static_cast<std::size_t>(position)];
    gpu.holder = job;
    leases.gpus.push_back(gpu.id);
  }
  for (int i = 0; i < shape.ports; ++i) {
    const std::size_t position = free_ports_.begin()->second;
    ports_[position].holder = job;
    update_port(position);
    leases.ports.push_back(ports_[position].id);
  }
  leases.memory_bytes = memory_bytes;
  used_memory_ += memory_bytes;
  return leases;
}

void Pool::take_again(JobId job, const Leases& leases) {
  for (const int id : leases.gpus)
    if (const auto position = gpu_position(id)) gpus_[*position].holder = job;
  for (const int number : leases.ports) {
    if (const auto position = port_position(number)) {
      ports_[*position].holder = job;
      update_port(*position);
    }
  }
  used_memory_ += leases.memory_bytes;
}

void Pool::give_back(const Leases& leases) {
  for (const int id : leases.gpus)
    if (const auto position = gpu_position(id)) gpus_[*position].holder.reset();
  for (const int number : leases.ports) {
    if (const auto position = port_position(number)) {
      free_ports_.erase({ports_[*position].last_used, *position});
      ports_[*position].last_used = ++port_clock_;
      ports_[*position].holder.reset();
      update_port(*position);
    }
  }
  used_memory_ -= leases.memory_bytes;
}

void Pool::update_port(std::size_t position) {
  const Device& port = ports_[position];
  if (port.available())
    free_ports_.emplace(port.last_used, position);
  else
    free_ports_.erase({port.last_used, position});
}

void Pool::hold(JobId for_job, const Shape& shape, std::int64_t memory_bytes) {
  drop_hold();
  held_for_ = for_job;
  std::vector<int> wanted;
  if (!shape.gpu_ids.empty()) {
    for (const int id : shape.gpu_ids)
      if (const auto position = gpu_position(id)) wanted.push_back(static_cast<int>(*position));
  } else if (shape.gpus > 0) {
    for (std::size_t i = 0; i < gpus_.size(); ++i)
      if (gpus_[i].available()) wanted.push_back(static_cast<int>(i));
    if (static_cast<int>(wanted.size()) > shape.gpus) wanted = choose_gpus(machine_, wanted, shape.gpus);
  }
  for (const int position : wanted) held_gpus_[static_cast<std::size_t>(position)] = true;
  held_ports_ = shape.ports;
  held_memory_ = memory_bytes;
}

void Pool::drop_hold() {
  held_for_.reset();
  held_gpus_.assign(gpus_.size(), false);
  held_ports_ = 0;
  held_memory_ = 0;
}

int Pool::free_gpus(std::optional<JobId> asker) const {
  int count = 0;
  for (std::size_t i = 0; i < gpus_.size(); ++i)
    if (gpus_[i].available() && !(held_gpus_[i] && kept_from(asker))) ++count;
  return count;
}
int Pool::free_ports(std::optional<JobId> asker) const {
  return std::max(0, static_cast<int>(free_ports_.size()) - (kept_from(asker) ? held_ports_ : 0));
}
std::int64_t Pool::free_memory(std::optional<JobId> asker) const {
  const std::int64_t held = kept_from(asker) ? held_memory_ : 0;
  return std::max<std::int64_t>(0, machine_.memory_bytes - used_memory_ - held);
}

bool Pool::within_reach(const Shape& shape, std::int64_t memory_bytes) const {
  const auto ours = [](const Device& device) { return device.known == model::DeviceState::free; };
  if (memory_bytes > machine_.memory_bytes) return false;
  if (shape.ports > std::ranges::count_if(ports_, ours)) return false;
  if (shape.gpu_ids.empty()) return shape.gpus <= std::ranges::count_if(gpus_, ours);
  return std::ranges::all_of(shape.gpu_ids, [&](int id) {
    const auto position = gpu_position(id);
    return position && ours(gpus_[*position]);
  });
}

bool Pool::possible(const Shape& shape, std::int64_t memory_bytes) const {
  return memory_bytes <= machine_.memory_bytes && shape.ports <= static_cast<int>(ports_.size()) &&
         shape.gpus <= static_cast<int>(gpus_.size()) &&
         std::ranges::all_of(shape.gpu_ids, [&](int id) { return gpu_position(id).has_value(); });
}

Device* Pool::find(bool is_port, int id) {
  const auto position = is_port ? port_position(id) : gpu_position(id);
  if (!position) return nullptr;
  return is_port ? &ports_[*position] : &gpus_[*position];
}

void Pool::set_known(bool is_port, Device& device, model::DeviceState known, std::string why,
                     std::vector<model::OutsideUse> outside) {
  strange_ += int{is_strange(is_port, known)} - int{is_strange(is_port, device.known)};
  device.known = known;
  device.why = std::move(why);
  device.outside = std::move(outside);
  if (is_port) update_port(static_cast<std::size_t>(&device - ports_.data()));
}

void Pool::lacking(const Shape& shape, std::set<std::pair<bool, int>>& into) const {
  const auto add = [&](bool is_port, const Device& device) {
    if (!device.holder && is_strange(is_port, device.known)) into.emplace(is_port, device.id);
  };
  if (!shape.gpu_ids.empty()) {
    for (const int id : shape.gpu_ids)
      if (const auto position = gpu_position(id)) add(false, gpus_[*position]);
  } else if (shape.gpus > free_gpus()) {
    for (const Device& gpu : gpus_) add(false, gpu);
  }
  if (shape.ports > free_ports())
    for (const Device& port : ports_) add(true, port);
}

}  // namespace ebb::engine
