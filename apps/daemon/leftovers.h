#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon_places.h"
#include "ebb/process/census.h"

namespace ebb::cli {

/// What is there and should not be, seen from outside.
struct Findings {
  std::vector<process::Leftover> leftovers;
  std::vector<std::string> devices;  ///< those that the daemon has not got back, in words
  std::vector<std::string> unseen;   ///< what could not be looked at, in words
  [[nodiscard]] bool none() const { return leftovers.empty() && devices.empty(); }
};

/// Looks twice, so that what is only on its way out, or only just begun, does not count. `client`: of the
/// daemon at `places`, which is asked what should live; nothing where no daemon lives.
[[nodiscard]] Result<Findings> find_leftovers(std::optional<client::Client> client,
                                              const DaemonPlaces& places);

}  // namespace ebb::cli
