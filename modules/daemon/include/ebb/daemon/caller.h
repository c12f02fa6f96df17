#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "ebb/process/peer.h"

namespace ebb::daemon {

/// Who asks, established by the server before anything else is looked at.
struct Caller {
  std::string user;          ///< the name that owns jobs
  std::optional<uid_t> uid;  ///< as whom its jobs run; empty: the key has no account
  bool admin = false;
  bool templates_only = false;  ///< may submit by templates only
  bool over_socket = false;
  std::shared_ptr<const process::PeerCredentials> peer;  ///< over the socket: who is at the other end
};

}  // namespace ebb::daemon
