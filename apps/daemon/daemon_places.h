#pragma once

#include <string>

#include "ebb/base/result.h"
#include "ebb/client/client.h"
#include "ebb/daemon/config.h"

namespace ebb::cli {

/// A daemon of this machine, seen from outside, or the one that would be started here.
struct DaemonPlaces {
  daemon::Config config;
  pid_t pid = 0;  ///< 0: none lives
  uid_t uid = 0;
  std::string socket;  ///< empty: none answers
};

/// The daemon that answers on `client`'s socket: who listens there the kernel tells, and its own command line
/// and configuration where it keeps its things. Errc::invalid over TCP: another machine cannot be looked at.
/// `client` null: none answers; then the configuration that `ebb serve` would read here. `state`: overrides.
[[nodiscard]] Result<DaemonPlaces> find_places(const client::Client* client, const std::string& state);

}  // namespace ebb::cli
