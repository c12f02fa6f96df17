#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ebb/model/job.h"
#include "ebb/model/release.h"

namespace ebb::model {

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
