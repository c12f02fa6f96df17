#pragma once

#include <memory>
#include <optional>

#include "ebb/flow/options.h"
#include "ebb/flow/report.h"

namespace ebb {

namespace flow {
class Run;
}  // namespace flow

/// A pipeline that was submitted. Destroyed before its end, it cancels and joins. Movable; any thread.
class [[nodiscard]] Pipeline {
 public:
  explicit Pipeline(std::shared_ptr<flow::Run> run) : run_(std::move(run)) {}
  Pipeline(Pipeline&&) noexcept = default;
  Pipeline& operator=(Pipeline&&) noexcept;
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline();

  /// Waits until the last operator has ended (and, where it was submitted with autostop or is being stopped,
  /// the last service), or the time is over: whether it has.
  bool wait(std::optional<Duration> timeout = {});
  /// Sources end, everything flows out, operators finish; then the services stop. Returns when all is over,
  /// by `grace` at the latest followed by a cancel().
  void drain();
  /// Sources end and everything flows out, but operators do not finish; then the services stop.
  void stop();
  /// Nothing more is processed; close() and the services' hooks still run.
  void cancel();
  enum class Status { starting, running, ending, ended };
  [[nodiscard]] Status status() const;
  [[nodiscard]] PipelineReport report() const;
  /// Waits for the end. Throws PipelineError where it failed.
  operator PipelineReport();

 private:
  std::shared_ptr<flow::Run> run_;
};

}  // namespace ebb
