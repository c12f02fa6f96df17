#include <boost/asio/use_awaitable.hpp>
#include <charconv>

#include "daemon_impl.h"
#include "refusal.h"

namespace ebb::daemon {
namespace {

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Look {
  bool free = false;
  std::string why;
};

// A fresh look at a GPU that nobody leases, by the attempt that is quarantined on it where one is known.
Task<Look> look_at(Context& context, int id) {
  std::shared_ptr<Attempt> holder;
  for (const auto& attempt : context.lingering) {
    if (attempt->quarantines(id)) holder = attempt;
  }
  const devices::Gpu& gpu = context.gpu(id);
  const auto initiate = [&](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    const auto told = [shared, &io = context.io](bool free, std::string why) {
      boost::asio::post(io, [shared, free, why = std::move(why)]() mutable {
        (*shared)(Look{.free = free, .why = std::move(why)});
      });
    };
    if (holder) {
      holder->recheck(id, told);
    } else if (gpu.kind == devices::GpuKind::declared) {
      told(true, "declared: lock");
    } else {
      context.gpus->check(gpu, devices::CheckPurpose::before_lease, {},
                          [told](const devices::GpuVerdict& verdict) {
                            told(verdict.kind == devices::GpuVerdict::Kind::free, verdict.text);
                          });
    }
  };
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(Look)>(
      initiate, boost::asio::use_awaitable);
}

}  // namespace

Task<model::Devices> Daemon::devices(Caller caller) {
  (void)caller;  // everybody may see who holds what: that is how people share a machine
  model::Devices shown = impl_->shell.engine().devices();
  if (co_await impl_->look_at_outside(shown)) shown = impl_->shell.engine().devices();
  for (model::Gpu& gpu : shown.gpus) {
    const devices::Gpu& known = impl_->context->gpu(gpu.id);
    gpu.uuid = known.uuid;
    gpu.name = known.name;
    if (known.memory_mib > 0) gpu.memory_mib = known.memory_mib;
    if (known.numa_node >= 0) gpu.numa_node = known.numa_node;
  }
  co_return shown;
}

// What nobody waits for is not watched, so that it may have come free long ago. With its lock, as before a
// lease.
Task<bool> Daemon::Impl::look_at_outside(const model::Devices& shown) {
  bool changed = false;
  const auto freed = [&](bool is_port, int id, const std::string& why) {
    shell.apply(engine::DeviceChanged{
        .is_port = is_port, .id = id, .state = model::DeviceState::free, .why = why, .outside = {}});
    changed = true;
  };
  for (const model::Gpu& gpu : shown.gpus) {
    if (gpu.state != model::DeviceState::outside) continue;
    const devices::Gpu& known = context->gpu(gpu.id);
    const auto lock = context->locks.take(context->lock_directory(known), devices::gpu_lock_name(known));
    if (!lock) continue;
    const Look seen = co_await look_at(*context, gpu.id);
    if (seen.free) freed(false, gpu.id, seen.why);
  }
  for (const model::Port& port : shown.ports) {
    if (port.state != model::DeviceState::outside) continue;
    const auto number = static_cast<std::uint16_t>(port.port);
    const auto lock = context->locks.take(*context->machine_locks, devices::port_lock_name(number));
    const auto seen = devices::check_port_free(number);
    if (lock && seen.kind == devices::PortVerdict::Kind::free) freed(true, port.port, seen.text);
  }
  co_return changed;
}

Task<Result<model::Devices>> Daemon::release_device(Caller caller, std::string id) {
  if (!caller.admin) co_return refused(Errc::forbidden, "only an admin may give a device back", "admin-only");
  Impl& impl = *impl_;
  std::string_view name = id;
  const bool is_port = name.starts_with("port-");
  if (is_port) name.remove_prefix(5);
  if (name.starts_with("gpu-")) name.remove_prefix(4);
  const auto wanted = number<int>(name);
  const model::Devices now = impl.shell.engine().devices();
  std::optional<model::DeviceState> state;
  if (wanted && is_port) {
    for (const model::Port& port : now.ports) {
      if (port.port == *wanted) state = port.state;
    }
  } else if (wanted) {
    for (const model::Gpu& gpu : now.gpus) {
      if (gpu.id == *wanted) state = gpu.state;
    }
  }
  if (!state)
    co_return refused(Errc::not_found, "no device '" + id + "'; 'ebb devices' lists all", "no-such-device");
  if (*state == model::DeviceState::leased || *state == model::DeviceState::releasing) {
    co_return refused(Errc::conflict, "device " + id + " is leased; cancel its job first", "leased");
  }
  if (is_port) {
    const auto verdict = devices::check_port_free(static_cast<std::uint16_t>(*wanted));
    if (verdict.kind != devices::PortVerdict::Kind::free)
      co_return refused(Errc::conflict, verdict.text, "not-free");
    impl.shell.apply(engine::DeviceChanged{.is_port = true,
                                           .id = *wanted,
                                           .state = model::DeviceState::free,
                                           .why = verdict.text,
                                           .outside = {}});
    co_return co_await devices(caller);
  }
  const Look answer = co_await look_at(*impl.context, *wanted);
  if (!answer.free)
    co_return refused(Errc::conflict, "GPU " + id + " is not free: " + answer.why, "not-free");
  impl.shell.apply(engine::DeviceChanged{
      .is_port = false, .id = *wanted, .state = model::DeviceState::free, .why = answer.why, .outside = {}});
  co_return co_await devices(caller);
}

Result<void> Daemon::drain(const Caller& caller, bool on) {
  if (!caller.admin) return refused(Errc::forbidden, "only an admin may drain or resume", "admin-only");
  impl_->shell.tell(engine::Drain{on});
  return {};
}

}  // namespace ebb::daemon
