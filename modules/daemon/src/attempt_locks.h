#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "context.h"
#include "ebb/base/unique_fd.h"
#include "ebb/engine/events.h"
#include "held_locks.h"

namespace ebb::daemon {

/// The machine-wide locks of one attempt's leases, from the moment when they are taken until the last device
/// is given back. One thread, that of the loop; held by a shared_ptr.
class AttemptLocks : public std::enable_shared_from_this<AttemptLocks> {
 public:
  AttemptLocks(Context& context, engine::Leases leases) : context_(context), leases_(std::move(leases)) {}

  using Refusals = std::vector<engine::AcquireFailed::Refusal>;
  /// For a new attempt: takes all of them, and has every device verified free, one after the other. `done`
  /// comes once, from within the call or later, with what refused; where something did, the locks that could
  /// be had are still held.
  void acquire(std::function<void(Refusals)> done);
  /// For an attempt of an earlier daemon whose keeper is gone: its locks are free for whoever comes first, so
  /// what can be had is taken and nothing is said of the rest. What is held stays held.
  void take();
  /// The same for one GPU.
  void take_again(int gpu);
  /// Takes over what a keeper handed back: in the order of descriptors().
  void adopt(std::vector<UniqueFd> handed);

  /// What a keeper gets: GPUs, then ports, each in the order of the leases.
  [[nodiscard]] std::vector<int> descriptors() const;
  /// Null where it is not held.
  [[nodiscard]] std::shared_ptr<HeldLock> gpu(int id) const;

  void give_back();
  /// Gives back all but these GPUs'.
  void keep_only(const std::set<int>& gpus);
  void give_back_gpu(int id) { gpus_.erase(id); }

 private:
  void take_all(Refusals& refusals);
  void verify(std::size_t index, Refusals refusals, std::function<void(Refusals)> done);
  [[nodiscard]] Result<std::shared_ptr<HeldLock>> take_gpu(int id) const;
  [[nodiscard]] Result<std::shared_ptr<HeldLock>> take_port(int port) const;

  Context& context_;
  engine::Leases leases_;
  std::map<int, std::shared_ptr<HeldLock>> gpus_;
  std::map<int, std::shared_ptr<HeldLock>> ports_;
};

}  // namespace ebb::daemon
