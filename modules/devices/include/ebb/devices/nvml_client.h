#pragma once

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/devices/gpu.h"

namespace ebb::devices {

/// Asks NVML through the helper process `ebb-nvml`, one call at a time. A driver that hangs, hangs only the
/// helper: when a call's deadline passes, the helper is killed and the next call gets a new one.
///
/// The helper is started at the first call, in its own session (a terminal's Ctrl+C does not reach it), and
/// dies with the thread that runs the loop. It inherits the environment; EBB_NVML_LIBRARY names another
/// library than libnvidia-ml.so.1.
///
/// One thread: that of the loop. Callbacks run there, never inside the call that takes them; none runs after
/// the client is destroyed.
class NvmlClient {
 public:
  /// `helper`: the path of ebb-nvml.
  NvmlClient(boost::asio::io_context& loop, std::filesystem::path helper);
  NvmlClient(const NvmlClient&) = delete;
  NvmlClient& operator=(const NvmlClient&) = delete;
  /// Kills the helper; does not wait for one that is stuck in the driver.
  ~NvmlClient();

  /// Errors: timeout (the driver hangs), unavailable (no driver, or the helper died), not_found (no such
  /// UUID), io (the driver's own error, as text), exhausted (several helpers are stuck in the driver
  /// already). `deadline` counts from the moment the helper gets the call; calls before it in the queue come
  /// first.
  void list(Duration deadline, std::function<void(Result<NvmlList>)> done);
  void usage(const std::string& uuid, Duration deadline, std::function<void(Result<GpuUsage>)> done);

  /// Helpers that were killed and have not gone: they are stuck in the driver.
  [[nodiscard]] int stuck() const;
  /// The pid of the helper that lives now, 0 where none does. For `ebb audit`, which must not take it for a
  /// leftover, and for tests.
  [[nodiscard]] pid_t helper_pid() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ebb::devices
