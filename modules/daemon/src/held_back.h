#pragma once

#include <set>
#include <string>

#include "context.h"
#include "ebb/engine/types.h"

namespace ebb::daemon {

/// Devices of an attempt that an earlier daemon reported, and whose keeper still has the locks: told to be
/// not free, so that no job is given them and then refused because of the locks, since what was refused is
/// looked at again only after a while. That the next job has them already, on disk, changes nothing: where
/// it never began it is put back, and then waits for them. One thread, that of the loop.
class HeldBack {
 public:
  explicit HeldBack(Context& context) : context_(context) {}

  /// All but those that are `quarantined`.
  void hold(const engine::Leases& devices, const std::set<int>& quarantined, const std::string& why);
  /// Tells that they are free; once.
  void lift();

 private:
  void tell(model::DeviceState state, const std::string& why);

  Context& context_;
  engine::Leases devices_;
};

}  // namespace ebb::daemon
