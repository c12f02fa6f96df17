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

}  // namespace

Task<model::Devices> Daemon::devices(Caller caller) {
  (void)caller;  // everybody may see who holds what: that is how people share a machine
  model::Devices shown = impl_->shell.engine().devices();
  for (model::Gpu& gpu : shown.gpus) {
    const devices::Gpu& known = impl_->context->gpu(gpu.id);
    gpu.uuid = known.uuid;
    gpu.name = known.name;
    if (known.memory_mib > 0) gpu.memory_mib = known.memory_mib;
    if (known.numa_node >= 0) gpu.numa_node = known.numa_node;
  }
  co_return shown;
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
  // A fresh look, by the attempt that is quarantined on it where one is still known.
  std::shared_ptr<Attempt> holder;
  for (const auto& attempt : impl.context->lingering) {
    if (attempt->quarantines(*wanted)) holder = attempt;
  }
  struct Answer {
    bool free = false;
    std::string why;
  };
  const Answer answer =
      co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(Answer)>(
          [&](auto handler) {
            auto shared = std::make_shared<decltype(handler)>(std::move(handler));
            const devices::Gpu& gpu = impl.context->gpu(*wanted);
            const auto told = [shared, &io = impl.context->io](bool free, std::string why) {
              boost::asio::post(io, [shared, free, why = std::move(why)]() mutable {
                (*shared)(Answer{.free = free, .why = std::move(why)});
              });
            };
            if (holder) {
              holder->recheck(*wanted, told);
            } else if (gpu.kind == devices::GpuKind::declared) {
              told(true, "declared: lock");
            } else {
              impl.context->gpus->check(gpu, devices::CheckPurpose::before_lease, {},
                                        [told](const devices::GpuVerdict& verdict) {
                                          told(verdict.kind == devices::GpuVerdict::Kind::free, verdict.text);
                                        });
            }
          },
          boost::asio::use_awaitable);
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
