#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "attempt_locks.h"
#include "attempt_processes.h"
#include "context.h"
#include "ebb/model/report.h"

namespace ebb::daemon {

/// The GPUs that an attempt's report holds back, with their locks, until each of them is verified free: looks
/// at them now and then, and when asked to; tells the engine of each that comes free (DeviceChanged). One
/// thread, that of the loop; held by a shared_ptr.
class Quarantine : public std::enable_shared_from_this<Quarantine> {
 public:
  /// `emptied` is called each time that the last GPU comes free; not after stop().
  Quarantine(Context& context, std::shared_ptr<AttemptLocks> locks,
             std::shared_ptr<const AttemptProcesses> processes, std::function<void()> emptied);

  /// Takes what this report of the attempt does not call released. A process that outlived the kill may come
  /// back to any GPU of the attempt, whatever the driver shows now: then the report is made to say so.
  void take_from(model::Report& report, const std::vector<int>& gpus);
  /// Takes these, whose report an earlier daemon wrote.
  void take(const std::vector<int>& gpus) { gpus_.insert(gpus.begin(), gpus.end()); }
  [[nodiscard]] bool holds(int gpu) const { return gpus_.contains(gpu); }
  [[nodiscard]] const std::set<int>& gpus() const { return gpus_; }

  using Done = std::function<void(bool free, std::string why)>;
  /// One look at this GPU. Not free while a process of the attempt is known to be left.
  void recheck(int gpu, Done done);
  /// One look at each.
  void look();
  /// Looks again and again, until none is held or stop().
  void watch();
  void stop();

 private:
  void lift(int gpu, const devices::GpuVerdict& verdict);

  Context& context_;
  std::shared_ptr<AttemptLocks> locks_;
  std::shared_ptr<const AttemptProcesses> processes_;
  std::function<void()> emptied_;
  std::set<int> gpus_;
  boost::asio::steady_timer timer_;
  bool stopped_ = false;
};

}  // namespace ebb::daemon
