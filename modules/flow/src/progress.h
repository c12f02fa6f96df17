// How far a pipeline is, for people who wait for it.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "ebb/flow/options.h"
#include "ebb/flow/report.h"

namespace ebb::flow {

/// A thread that tells how the pipeline stands every half second, from its construction to its end: by the
/// callback, or as a line on the standard error, which is rewritten in place on a terminal and gone at the
/// end.
class ProgressThread {
 public:
  using Ask = std::function<PipelineReport()>;
  /// Null where nobody wants it.
  [[nodiscard]] static std::unique_ptr<ProgressThread> make(const SubmitOptions& options, Ask ask);
  ~ProgressThread();
  ProgressThread(const ProgressThread&) = delete;
  ProgressThread& operator=(const ProgressThread&) = delete;

  /// Writes another line to the standard error, beside which that of the progress stays whole.
  void say(const std::string& line);

 private:
  enum class Style : std::uint8_t { callback, in_place, lines };
  ProgressThread(Style style, Duration period, const SubmitOptions& options, Ask ask);
  void work();
  void call(const PipelineReport& report);
  void tell(const PipelineReport& report);

  const Style style_;
  const Duration period_;
  const std::function<void(const PipelineReport&)> callback_;
  const Ask ask_;
  std::uint64_t before_ = 0;  // records that had come in
  Duration took_{};           // when that was
  std::mutex mutex_;
  std::condition_variable news_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace ebb::flow
