#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "job.h"

namespace ebb::engine {

/// One GPU or port. Whether somebody holds it and what is known of it are two questions: a leased GPU may be
/// quarantined at the same time, and nobody gets it when the lease ends.
struct Device {
  int id = 0;
  model::DeviceState known = model::DeviceState::free;  ///< free, outside, unknown or quarantined
  std::string why;
  std::vector<model::OutsideUse> outside;
  std::optional<JobId> holder;
  std::uint64_t last_used = 0;  ///< of a port: grows with each lease that ends

  [[nodiscard]] bool available() const { return !holder && known == model::DeviceState::free; }
};

/// What there is to lease, and who has it.
class Pool {
 public:
  explicit Pool(Machine machine);

  /// Takes what the shape asks for, if it is there and not held for somebody else.
  [[nodiscard]] std::optional<Leases> take(JobId job, const Shape& shape, std::int64_t memory_bytes);
  /// Takes exactly these; devices that the machine has not are passed over.
  void take_again(JobId job, const Leases& leases);
  void give_back(const Leases& leases);

  /// From now on only `for_job` counts on as much of the free devices as it asks for; replaces an earlier
  /// one.
  void hold(JobId for_job, const Shape& shape, std::int64_t memory_bytes);
  void drop_hold();
  [[nodiscard]] std::optional<JobId> held_for() const { return held_for_; }

  /// Whether the ending of running jobs would be enough for this, without any change outside of Ebb.
  [[nodiscard]] bool within_reach(const Shape& shape, std::int64_t memory_bytes) const;
  /// Whether a machine with every device free could do it.
  [[nodiscard]] bool possible(const Shape& shape, std::int64_t memory_bytes) const;

  /// Null where there is no such device.
  [[nodiscard]] Device* find(bool is_port, int id);
  /// Changes what is known of a device.
  void set_known(bool is_port, Device& device, model::DeviceState known, std::string why,
                 std::vector<model::OutsideUse> outside);
  /// Ids of devices that are neither leased nor free, but may become so (of GPUs: without the attempt that
  /// holds them in quarantine), which this shape lacks now.
  void lacking(const Shape& shape, std::set<std::pair<bool, int>>& into) const;
  /// Whether there is a device that lacking() could name.
  [[nodiscard]] bool any_strange() const { return strange_ > 0; }

  [[nodiscard]] const Machine& machine() const { return machine_; }
  [[nodiscard]] const std::vector<Device>& gpus() const { return gpus_; }
  [[nodiscard]] const std::vector<Device>& ports() const { return ports_; }
  /// What is free, without what is held for somebody else than `asker`.
  [[nodiscard]] int free_gpus(std::optional<JobId> asker = std::nullopt) const;
  [[nodiscard]] int free_ports(std::optional<JobId> asker = std::nullopt) const;
  [[nodiscard]] std::int64_t free_memory(std::optional<JobId> asker = std::nullopt) const;
  [[nodiscard]] bool gpu_is_held(std::size_t position) const { return held_gpus_[position]; }

 private:
  [[nodiscard]] std::optional<std::size_t> gpu_position(int id) const;
  [[nodiscard]] std::optional<std::size_t> port_position(int number) const;
  /// The GPUs (by position) that it would get; empty where there are not enough.
  [[nodiscard]] std::optional<std::vector<int>> choose(const Shape& shape) const;
  [[nodiscard]] bool kept_from(std::optional<JobId> asker) const { return held_for_ && held_for_ != asker; }
  void update_port(std::size_t position);

  Machine machine_;
  std::vector<Device> gpus_;
  std::vector<Device> ports_;
  std::set<std::pair<std::uint64_t, std::size_t>> free_ports_;  // least recently used first
  std::uint64_t port_clock_ = 0;
  std::int64_t used_memory_ = 0;
  int strange_ = 0;  // devices that lacking() could name, leased ones included

  std::optional<JobId> held_for_;
  std::vector<bool> held_gpus_;
  int held_ports_ = 0;
  std::int64_t held_memory_ = 0;
};

}  // namespace ebb::engine
