#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ebb/base/unique_fd.h"
#include "ebb/process/spawn.h"

namespace ebb::daemon {

/// The daemon's tie to one keeper: passes commands on, tells what the keeper says, and notices when it is
/// gone or does not answer. One thread, that of the loop; its calls come from the loop, never from within a
/// call to it.
///
/// States: *none* before begin(); *linked*; *dying* (the connection has ended, but the process, our child,
/// has not been reaped); *gone*. Destroyed or closed, it calls nobody any more.
class KeeperSession {
 public:
  struct Calls {
    std::function<void(process::KeeperEvent)> said;
    std::function<void(std::vector<UniqueFd>)> handed_locks;
    std::function<void()> gone;    ///< with all that it said before; once
    std::function<void()> silent;  ///< a request was not answered in time
  };

  KeeperSession(boost::asio::io_context& io, Calls calls);
  KeeperSession(const KeeperSession&) = delete;
  KeeperSession& operator=(const KeeperSession&) = delete;
  ~KeeperSession() { close(); }

  /// A keeper that this process has started: it is reaped here.
  void begin(process::StartedKeeper keeper);
  /// One of an earlier daemon, which was just greeted: asks it for its locks, and waits for its answer.
  void begin(process::KeeperLink link);

  /// Asks it to end the tree, and waits for its answer; false where it cannot be asked.
  [[nodiscard]] bool stop(const process::Stop& stop);
  void acknowledge();
  /// The tree has ended: nothing is expected of it any longer.
  void expect_nothing() { answer_limit_.cancel(); }
  /// SIGKILL, where it is our child.
  void kill();
  /// Leaves it to itself.
  void close();

  [[nodiscard]] bool linked() const { return link_.has_value(); }
  /// Linked or dying.
  [[nodiscard]] bool present() const { return link_ || exit_; }

 private:
  void take(process::KeeperLink link);
  void wait();
  void receive();
  void expect_answer();

  boost::asio::io_context& io_;
  Calls calls_;
  std::optional<process::KeeperLink> link_;
  std::optional<boost::asio::posix::stream_descriptor> readable_;  // the link's descriptor
  std::optional<boost::asio::posix::stream_descriptor> exit_;      // pidfd of a child
  boost::asio::steady_timer answer_limit_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();  // what the loop still has may outlive this
};

}  // namespace ebb::daemon
