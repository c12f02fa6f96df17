#pragma once

#include <optional>
#include <vector>

#include "ebb/engine/types.h"
#include "scheduler.h"

namespace ebb::simulation {

struct World;

/// A machine-wide lock on one GPU or port, as flock(2) has it: the daemon and the keepers it was passed to
/// share one open file; a neighbour, another Ebb on the machine, has its own.
struct Lock {
  int daemon = 0;   ///< attempts of the daemon that hold it
  int keepers = 0;  ///< keepers that hold it
  int passed = 0;   ///< descriptors on their way from a keeper, which the daemon has yet to read
  bool neighbour = false;
  [[nodiscard]] bool free() const { return daemon == 0 && keepers == 0 && passed == 0 && !neighbour; }
};

struct Device {
  int id = 0;
  Lock lock;
  bool outside = false;  ///< used by processes that are not of our jobs
  Moment outside_since{}, neighbour_left{};
  // GPUs only
  Moment hangs_until{};                   ///< its driver answers nobody
  std::optional<AttemptId> residue = {};  ///< memory of an attempt that the driver has not cleared yet
  Moment residue_until{};
  std::optional<Moment> verified_at =
      {};  ///< under the daemon's lock, for the next attempt (HeldLock::verified_free)
};

/// GPUs and ports: who has their locks, who uses them, and what the driver says of them.
class Machine {
 public:
  Machine(World& world, const engine::Machine& known);

  [[nodiscard]] Device& device(bool is_port, int id);
  [[nodiscard]] std::vector<Device>& gpus() { return gpus_; }
  [[nodiscard]] std::vector<Device>& ports() { return ports_; }

  /// flock by the daemon, for one attempt; false where it is busy.
  [[nodiscard]] bool lock(Device& device);
  void unlock(Device& device);
  /// The daemon reads a descriptor that a keeper has passed to it, and keeps it or not.
  void receive(Device& device, bool keeps);
  /// All that the daemon holds goes with it.
  void daemon_dies();
  void reboot();

  enum class Verdict { free, own, outside, unknown };
  /// What the driver shows, to somebody who takes the processes of `attempt` for their own.
  [[nodiscard]] Verdict look(const Device& gpu, std::optional<AttemptId> attempt) const;
  [[nodiscard]] bool port_is_used(const Device& port) const;

  // faults
  void outsider_comes(bool is_port, std::size_t index);
  void outsider_goes(bool is_port, std::size_t index);
  void driver_hangs(std::size_t index);
  /// Of a tree that is gone: what the driver still shows of it.
  void leave_residue(AttemptId attempt, const engine::Leases& leases);
  void calm();

 private:
  World& world_;
  std::vector<Device> gpus_;
  std::vector<Device> ports_;
};

}  // namespace ebb::simulation
