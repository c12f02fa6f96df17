#include "held_back.h"

namespace ebb::daemon {

void HeldBack::hold(const engine::Leases& devices, const std::set<int>& quarantined, const std::string& why) {
  devices_ = devices;
  std::erase_if(devices_.gpus, [&](int gpu) { return quarantined.contains(gpu); });
  tell(model::DeviceState::unknown, why);
}

void HeldBack::lift() {
  tell(model::DeviceState::free, {});
  devices_ = {};
}

void HeldBack::tell(model::DeviceState state, const std::string& why) {
  const auto changed = [&](bool is_port, int id) {
    context_.tell(
        engine::DeviceChanged{.is_port = is_port, .id = id, .state = state, .why = why, .outside = {}});
  };
  for (const int gpu : devices_.gpus) changed(false, gpu);
  for (const int port : devices_.ports) changed(true, port);
}

}  // namespace ebb::daemon
