#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/devices/gpu_checker.h"
#include "ebb/devices/locks.h"
#include "ebb/devices/ports.h"

namespace ebb::devices {

/// Looks at a device that somebody else uses, because a job waits for it, until it is free: at once, after
/// each interval, and when a process that was seen on it ends, then again after 1, 2, 4 … ms up to the
/// interval. Destroying it stops it; no callback runs after that. The thread of the loop.
class DeviceWatch {
 public:
  static constexpr Duration kInterval = std::chrono::seconds(1);

  /// What a look showed, as far as it matters here.
  struct Seen {
    bool free = false;
    std::vector<pid_t> holders;  ///< whose end is worth another look
    std::function<void()> tell;  ///< run when the watch still lives; may be empty
  };
  using Look = std::function<void(std::function<void(Seen)>)>;

  /// For the functions below.
  DeviceWatch(boost::asio::io_context& loop, Duration interval, Look look);
  DeviceWatch(const DeviceWatch&) = delete;
  DeviceWatch& operator=(const DeviceWatch&) = delete;
  ~DeviceWatch();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

/// `looked` gets each verdict (never inside this call); the one that is free is the last. A device whose lock
/// somebody holds is not free, and nobody is told of it. `checker` and `locks`, where the device has its
/// lock, outlive the watch.
[[nodiscard]] std::unique_ptr<DeviceWatch> watch_gpu(boost::asio::io_context& loop, GpuChecker& checker,
                                                     const LockDirectory& locks, const Gpu& gpu,
                                                     std::function<void(const GpuVerdict&)> looked,
                                                     Duration interval = DeviceWatch::kInterval);
[[nodiscard]] std::unique_ptr<DeviceWatch> watch_port(boost::asio::io_context& loop,
                                                      const LockDirectory& locks, std::uint16_t port,
                                                      std::function<void(const PortVerdict&)> looked,
                                                      Duration interval = DeviceWatch::kInterval);

}  // namespace ebb::devices
