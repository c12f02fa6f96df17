#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

}  // namespace ebb::model
