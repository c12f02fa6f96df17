#include "device_watches.h"

namespace ebb::daemon {
namespace {

using devices::DeviceWatch;

// A device that was refused a moment ago and is free at the first look: perhaps it came free in between,
// perhaps its lock cannot be taken for a reason that no look shows. So that refusal and look cannot follow
// each other without end at full speed, it is believed one interval later.
std::unique_ptr<DeviceWatch> tell_later(Context& context, const engine::DeviceChanged& change) {
  auto look = [&context, change, looks = 0](const std::function<void(DeviceWatch::Seen)>& seen) mutable {
    DeviceWatch::Seen what;
    what.free = looks++ > 0;
    if (what.free) what.tell = [&context, change] { context.tell(change); };
    seen(std::move(what));
  };
  return std::make_unique<DeviceWatch>(context.io, DeviceWatch::kInterval, std::move(look));
}

// What to do with each verdict of a new watch, which stands at `place`.
template <typename Verdict>
std::function<void(const Verdict&)> on_look(Context& context, std::unique_ptr<DeviceWatch>& place,
                                            bool is_port, int id) {
  return [&context, &place, is_port, id, looked = std::make_shared<bool>(false)](const Verdict& verdict) {
    const bool first = !std::exchange(*looked, true);
    if (verdict.kind != Verdict::Kind::free) return;
    engine::DeviceChanged change{
        .is_port = is_port, .id = id, .state = model::DeviceState::free, .why = verdict.text, .outside = {}};
    if (first) {
      place = tell_later(context, change);
    } else {
      context.tell(std::move(change));
    }
  };
}

}  // namespace

void DeviceWatches::add_gpu(int id) {
  if (gpus_.contains(id)) return;
  const devices::Gpu& gpu = context_.gpu(id);
  auto& place = gpus_[id];
  place = devices::watch_gpu(context_.io, *context_.gpus, context_.lock_directory(gpu), gpu,
                             on_look<devices::GpuVerdict>(context_, place, false, id));
}

void DeviceWatches::add_port(int port) {
  if (ports_.contains(port)) return;
  auto& place = ports_[port];
  place = devices::watch_port(context_.io, *context_.machine_locks, static_cast<std::uint16_t>(port),
                              on_look<devices::PortVerdict>(context_, place, true, port));
}

void DeviceWatches::clear() {
  gpus_.clear();
  ports_.clear();
}

}  // namespace ebb::daemon
