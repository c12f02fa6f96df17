#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ebb/base/clock.h"
#include "ebb/process/spawn.h"

namespace ebb::daemon {

/// Waits for the socket of a keeper that was started, by a daemon that is gone, but has not made it yet.
/// Destroying it stops the waiting; it then calls nobody. One thread, that of the loop.
class KeeperArrival {
 public:
  /// The connection; nothing where it did not come in time.
  using Done = std::function<void(std::optional<process::KeeperLink>)>;

  /// `done` is called once, from the loop.
  KeeperArrival(boost::asio::io_context& io, std::string attempt_dir, Duration limit, Done done);
  KeeperArrival(const KeeperArrival&) = delete;
  KeeperArrival& operator=(const KeeperArrival&) = delete;
  ~KeeperArrival();

 private:
  class Wait;
  std::shared_ptr<Wait> wait_;
};

}  // namespace ebb::daemon
