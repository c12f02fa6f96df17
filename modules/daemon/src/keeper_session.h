#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/spawn.h"
#include "exit_watch.h"

namespace ebb::daemon {

/// The daemon's tie to one keeper: passes commands on, tells what the keeper says, and notices when it is
/// lost. One thread, that of the loop; its calls come from the loop, never from within a call to it.
///
/// States: *none* before begin(); *linked*; *dying* (the connection has ended, but the process, our child,
/// has not been reaped); *gone*. Destroyed or closed, it calls nobody any more.
class KeeperSession {
 public:
  enum class Loss {
    exited,      ///< its process or its connection has ended; all that it said has been told
    unanswered,  ///< it left a request unanswered: nothing that was asked since is known to have reached it
    overdue,     ///< it answered, but the end that it was asked for did not come
    foreign,     ///< it was to end the tree, but speaks another version of the protocol
  };
  struct Calls {
    std::function<void(process::KeeperEvent)> said;
    std::function<void(std::vector<UniqueFd>)> handed_locks;
    std::function<void(Loss)> lost;  ///< may come again: of one that was killed for it, `exited`
    /// It speaks another version: it is told nothing more, but that it exits is noticed.
    std::function<void(const std::string& why)> foreign;
  };
  /// How long a keeper may take to answer before the daemon does its work instead.
  static constexpr Duration kAnswerTimeout = std::chrono::seconds(5);

  KeeperSession(boost::asio::io_context& io, Calls calls, Duration answer_within = kAnswerTimeout);
  KeeperSession(const KeeperSession&) = delete;
  KeeperSession& operator=(const KeeperSession&) = delete;
  ~KeeperSession() { close(); }

  /// A keeper that this process has started: it is reaped here.
  void begin(process::StartedKeeper keeper);
  /// One of an earlier daemon, which was just greeted: asks it for its locks, and waits for its answer.
  void begin(process::KeeperLink link);

  /// Asks it to end the tree, and waits for its answer, and then for the end: at most `stop.grace` and
  /// `kill_within`. Where it is not linked nothing is asked: that it is lost has been or will be told.
  void stop(const process::Stop& stop, Duration kill_within);
  void disown() { send(process::Disown{}); }
  /// Nothing is asked of it any longer: it goes, and at once. One that does not is told as lost.
  void acknowledge();
  /// The tree has ended: nothing is expected of it any longer.
  void expect_nothing();
  /// SIGKILL, where it is our child; false where it is not.
  bool kill();
  /// Leaves it to itself.
  void close();

  [[nodiscard]] bool linked() const { return link_.has_value(); }
  /// Linked or dying.
  [[nodiscard]] bool present() const { return link_ || exit_; }
  /// Our child, and gone for certain.
  [[nodiscard]] bool reaped() const { return reaped_; }

 private:
  void take(process::KeeperLink link);
  void wait();
  void receive(bool last);
  void drop_link();
  void expect_answer(Duration within);
  void expect_end(Duration within);
  void send(const process::KeeperCommand& command);

  boost::asio::io_context& io_;
  Calls calls_;
  Duration answer_within_;
  std::optional<process::KeeperLink> link_;
  std::optional<boost::asio::posix::stream_descriptor> readable_;  // the link's descriptor
  std::optional<ExitWatch> exit_;                                  // of a child
  bool reaped_ = false;
  bool foreign_ = false;
  int unanswered_ = 0;  // Hellos whose Welcome has not come
  boost::asio::steady_timer answer_limit_;
  std::optional<BootTime> end_due_;
  boost::asio::steady_timer end_limit_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();  // what the loop still has may outlive this
};

}  // namespace ebb::daemon
