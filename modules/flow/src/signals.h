// Who is told of SIGINT and SIGTERM, for stop_on_signals().
#pragma once

#include <memory>
#include <mutex>

namespace ebb::flow {

class Run;

/// What the signals of one environment's process end: its run, once there is one. Any thread.
class StopTarget {
 public:
  /// Listens from now on.
  StopTarget();
  ~StopTarget();
  StopTarget(const StopTarget&) = delete;
  StopTarget& operator=(const StopTarget&) = delete;

  void set(const std::shared_ptr<Run>& run);
  /// So many signals have come.
  void signalled(int count);

 private:
  void follow();

  std::mutex mutex_;
  std::weak_ptr<Run> run_;
  int count_ = 0;
};

}  // namespace ebb::flow
