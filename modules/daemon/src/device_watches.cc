#include "device_watches.h"

namespace ebb::daemon {
namespace {

engine::DeviceChanged came_free(bool is_port, int id, const std::string& how) {
  return {.is_port = is_port, .id = id, .state = model::DeviceState::free, .why = how, .outside = {}};
}

}  // namespace

void DeviceWatches::add_gpu(int id) {
  if (gpus_.contains(id)) return;
  const devices::Gpu& gpu = context_.gpu(id);
  gpus_[id] = devices::watch_gpu(context_.io, *context_.gpus, context_.lock_directory(gpu), gpu,
                                 [this, id](const devices::GpuVerdict& verdict) {
                                   if (verdict.kind == devices::GpuVerdict::Kind::free) {
                                     context_.tell(came_free(false, id, verdict.text));
                                   }
                                 });
}

void DeviceWatches::add_port(int port) {
  if (ports_.contains(port)) return;
  ports_[port] = devices::watch_port(context_.io, *context_.machine_locks, static_cast<std::uint16_t>(port),
                                     [this, port](const devices::PortVerdict& verdict) {
                                       if (verdict.kind == devices::PortVerdict::Kind::free) {
                                         context_.tell(came_free(true, port, verdict.text));
                                       }
                                     });
}

void DeviceWatches::clear() {
  gpus_.clear();
  ports_.clear();
}

}  // namespace ebb::daemon
