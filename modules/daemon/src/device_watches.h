#pragma once

#include <map>
#include <memory>

#include "context.h"
#include "ebb/devices/watch.h"

namespace ebb::daemon {

/// Looks at the devices that somebody else uses and that a job of ours waits for; tells the engine when one
/// is free. Nothing is looked at, and no timer runs, while there is none. One thread, that of the loop.
class DeviceWatches {
 public:
  explicit DeviceWatches(Context& context) : context_(context) {}

  void add_gpu(int id);
  void add_port(int port);
  void remove_gpu(int id) { gpus_.erase(id); }
  void remove_port(int port) { ports_.erase(port); }
  void clear();

 private:
  Context& context_;
  std::map<int, std::unique_ptr<devices::DeviceWatch>> gpus_, ports_;
};

}  // namespace ebb::daemon
