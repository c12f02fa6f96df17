#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ebb/model/job.h"

namespace ebb::model {

enum class ReleaseKind { processes, gpu, port, ipc, ray, scratch, mount, service, sidecar };
enum class Outcome {
  released,     ///< given back, and verified
  quarantined,  ///< something of the attempt is still there: nobody else gets it until it is gone
  failed,       ///< could not be given back, but nobody else is endangered by that
};

/// A process that is not of the job and uses a device that the job had.
struct OutsideUse {
  int pid = 0;
  std::string user;
  std::int64_t mib = 0;
  bool operator==(const OutsideUse&) const = default;
};

/// How one acquired thing was given back, and how that was verified.
struct ReleaseRecord {
  ReleaseKind kind = ReleaseKind::processes;
  std::string target;
  std::optional<std::string> action;
  Outcome outcome = Outcome::released;
  std::optional<std::string> verified_by;
  std::optional<std::int64_t> count;
  double took_ms = 0;
  std::optional<std::vector<OutsideUse>> outside;
  std::optional<std::string> error;  ///< why it is not released, and what to do
};

/// How a scope ended. One for each end of an attempt, and one with attempt 0 for a job that ends before its
/// first; written once, on disk before what it lists is leased again, and never changed.
struct Report {
  JobId job;
  int attempt = 0;
  StopReason reason;
  Exit exit;
  std::optional<std::string> tier;
  std::optional<WallTime> started_at;
  std::optional<WallTime> stop_requested_at;
  WallTime released_at{};
  bool complete = true;  ///< every release has the outcome `released`
  std::vector<ReleaseRecord> releases;
};

/// "released in 41 ms: 3 processes ended · GPU 0 1 verified free · port 38001 free · scratch removed"
[[nodiscard]] std::string one_line(const Report& report);
/// The one line and then a line for each release, as a small waterfall; ends with a newline.
[[nodiscard]] std::string waterfall(const Report& report);

}  // namespace ebb::model
