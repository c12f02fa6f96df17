#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "ebb/base/clock.h"
#include "ebb/devices/gpu_check.h"
#include "ebb/devices/nvml_client.h"

namespace ebb::devices {

/// Asks the driver and judges. Nothing is asked unless somebody calls. The thread of the loop; callbacks run
/// there, never inside the call, and none after the checker is destroyed. `nvml` and `baselines` outlive it.
class GpuChecker {
 public:
  using Belongs =
      std::function<bool(pid_t)>;  ///< whether a pid is of the job; called when the answer is here
  using Done = std::function<void(GpuVerdict)>;

  /// `call_deadline` bounds each call of the driver.
  GpuChecker(boost::asio::io_context& loop, NvmlClient& nvml, BaselineTable& baselines, GpuRules rules,
             Duration call_deadline = std::chrono::seconds(2));
  GpuChecker(const GpuChecker&) = delete;
  GpuChecker& operator=(const GpuChecker&) = delete;
  ~GpuChecker();

  /// One look.
  void check(const Gpu& gpu, CheckPurpose purpose, Belongs belongs, Done done);
  /// Looks at once and again after 1, 2, 4 … 100 ms, until nothing of the job is left (free or outside), the
  /// driver hangs or lost the GPU (unknown), or `deadline` has passed: then the last verdict, at the latest
  /// one millisecond after it, also while a call hangs.
  void wait_free(const Gpu& gpu, Duration deadline, Belongs belongs, Done done);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ebb::devices
