#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/model/release.h"

namespace ebb {

/// How a pipeline ended.
enum class Outcome {
  completed,  ///< every source ended by itself, and every record went its way
  failed,     ///< an operator, a service or a limit failed
  drained,    ///< drain(): sources were ended, everything flowed out, operators finished
  stopped,    ///< stop(): sources were ended and everything flowed out, but operators did not finish
  cancelled,  ///< cancel(), or a grace period that ran out
};
[[nodiscard]] const char* to_string(Outcome outcome) noexcept;

/// How long sampled records, or calls, took: half of them no longer than `p50_us`, and so on.
struct Latency {
  std::uint64_t samples = 0;
  double p50_us = 0, p95_us = 0, p99_us = 0;
};
/// Records in a second, on average over so many minutes or, where it is less, the time that it has run.
struct Rates {
  double over_1_min = 0, over_5_min = 0, over_60_min = 0;
};

/// One operator, all replicas together. in = processed + filtered + skipped + dead_lettered + failed + late.
struct OperatorReport {
  std::string name;
  std::string kind;
  int replicas = 1;
  std::uint64_t in = 0;
  std::uint64_t processed = 0;
  std::uint64_t filtered = 0;
  std::uint64_t skipped = 0;
  std::uint64_t dead_lettered = 0;
  std::uint64_t failed = 0;
  std::uint64_t late = 0;
  std::uint64_t emitted = 0;  ///< from records and from finish()
  Rates rates;
  /// Of a record through the loop that the operator is a part of: from where it has been taken up to where
  /// the last operator on the same thread is through with it or with what came of it, waits for services
  /// included, those for room behind it not. About one record is timed in a millisecond.
  Latency latency;
};

/// From one operator to the next. sent = received + all that were discarded.
struct EdgeReport {
  std::string from;
  std::string to;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t discarded_by_cancel = 0;
  std::uint64_t discarded_by_end = 0;  ///< the consumer took no more
  std::uint64_t discarded_by_failure = 0;
  std::uint64_t most_waiting = 0;  ///< records in one ring at a time, at most
  std::uint64_t capacity = 0;      ///< records that fit in one ring; 0: both run as one loop
  [[nodiscard]] std::uint64_t discarded() const noexcept {
    return discarded_by_cancel + discarded_by_end + discarded_by_failure;
  }
};

/// One stage's thread, or all of its threads together: the operators that it runs, and how it spent its time.
struct StageReport {
  std::vector<std::string> operators;
  int replicas = 1;
  Duration busy{};     ///< in the loop and in user code
  Duration blocked{};  ///< the next stage had no room, or a service no slot
  Duration waiting{};  ///< there was nothing to do
};

struct PipelineReport;

struct ServiceReport {
  std::string name;
  bool initialized = false;
  bool running = false;
  bool cleanup_called = false;
  bool cleanup_completed = false;
  std::uint64_t calls = 0;
  std::uint64_t timeouts = 0;  ///< calls that ended by ServiceTimeout
  Latency latency;    ///< from a call's slot to its return; one in sixteen of those on their caller's
                      ///< thread is timed, all others are
  std::string error;  ///< what its constructor or a hook threw
  std::shared_ptr<const PipelineReport> pipeline = nullptr;  ///< where it is one
};

/// How a pipeline ended, or, while it runs, how it stands.
struct PipelineReport {
  std::string name;
  bool ok = false;
  bool ended = false;
  Outcome outcome = Outcome::completed;
  std::string failed_at;  ///< the operator or service that failed
  std::string error;      ///< what it threw
  bool unbalanced = false;
  Duration took{};
  std::vector<OperatorReport> operators;
  std::vector<EdgeReport> edges;
  std::vector<StageReport> stages;
  std::vector<ServiceReport> services;
  std::vector<model::ReleaseRecord> releases;

  /// The first operator or edge whose counts do not add up; empty where all do.
  [[nodiscard]] std::string imbalance() const;
  /// One JSON object; its fields stand in docs/pipelines.md.
  [[nodiscard]] std::string json() const;
  /// The graph for Graphviz, with its counts.
  [[nodiscard]] std::string dot() const;
};
/// A table for people.
std::ostream& operator<<(std::ostream& out, const PipelineReport& report);

/// A pipeline that did not end as it should.
class PipelineError : public std::runtime_error {
 public:
  PipelineError(const std::string& what, PipelineReport report)
      : std::runtime_error(what), report_(std::make_shared<const PipelineReport>(std::move(report))) {}

  [[nodiscard]] const PipelineReport& report() const noexcept { return *report_; }
  /// Counts that do not add up: a defect of Ebb's, not of the pipeline.
  [[nodiscard]] bool unbalanced() const noexcept { return report_->unbalanced; }

 private:
  std::shared_ptr<const PipelineReport> report_;
};

}  // namespace ebb
