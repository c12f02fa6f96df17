#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/keeper_protocol.h"
#include "ebb/process/launch.h"

namespace ebb::process {

/// The daemon's end of a connection with a keeper. It belongs to no event loop: poll fd() for reading, and
/// call receive() when it is readable. Commands are small and rare, so sending never needs to wait in
/// practice; where the socket is full all the same (a stopped keeper), send() fails with Errc::exhausted and
/// nothing is sent. One thread at a time. States: open; closed by the other side (receive() said so; send()
/// fails).
class KeeperLink {
 public:
  /// Adopts the keeper whose socket is in `attempt_dir`, and says Hello; Welcome is the first event that
  /// comes. Errc::not_found where no socket is (a keeper that was just started makes it first of all, but see
  /// keeper_lives()), Errc::unavailable where nobody listens on it (the keeper is dead).
  [[nodiscard]] static Result<KeeperLink> connect(const std::string& attempt_dir);
  explicit KeeperLink(UniqueFd socket) noexcept : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

  struct Received {
    std::vector<KeeperEvent> events;
    std::vector<UniqueFd> locks;  ///< those that came with a Locks event
    bool closed = false;          ///< the keeper's end is closed: it exited or died; nothing more will come
  };
  /// All that has arrived, without waiting. Errc::conflict for a keeper that speaks another version, which is
  /// left alone; Errc::corrupt for one that speaks nonsense: kill its tree by cgroup or init. Called again
  /// after either, it goes on with the next packet.
  [[nodiscard]] Result<Received> receive();
  /// Errc::too_large for a reason over its limit.
  [[nodiscard]] Result<void> send(const KeeperCommand& command);

 private:
  UniqueFd socket_;
};

/// A keeper that was just started; this process is its parent and must reap it (waitid P_PIDFD).
struct StartedKeeper {
  UniqueFd pidfd;
  pid_t pid = 0;
  KeeperLink link;
};

struct KeeperLaunch {
  std::string program;  ///< absolute path of ebb-keeper
  std::span<const int>
      locks{};     ///< lock descriptors that it shares (at most kMaxKeeperLocks); stay the caller's
  int owner = -1;  ///< pidfd of the owner's process, or -1; stays the caller's
};

/// Starts a keeper for `spec`, in `spec.cgroup`/keeper where that tier is on (the groups must exist). It
/// holds the lock of `spec.attempt_dir` (keeper_lock.h) for its life; Errc::conflict where a keeper has it.
/// Costs the same from a small and from a large process. The keeper's existence is all that success means:
/// Started or Ended tell the rest. Thread-safe.
[[nodiscard]] Result<StartedKeeper> start_keeper(const LaunchSpec& spec, const KeeperLaunch& launch);

/// Starts keepers at a lower price than start_keeper(): from a process that has executed ebb-keeper once, and
/// forks for each. The keepers are this process's children all the same. Where that process is lost it is
/// started anew; where it cannot be had, start() does what start_keeper() does. It ends with this object or
/// this process. One thread at a time.
class KeeperStarter {
 public:
  explicit KeeperStarter(std::string program) : program_(std::move(program)) {}
  KeeperStarter(const KeeperStarter&) = delete;
  KeeperStarter& operator=(const KeeperStarter&) = delete;
  ~KeeperStarter() { end_nursery(); }

  /// As start_keeper(). Errc::unavailable where the process that forks died or stood still with the request:
  /// a keeper, if there was one, has been killed, and what it may have begun is the caller's to end.
  [[nodiscard]] Result<StartedKeeper> start(const LaunchSpec& spec, std::span<const int> locks,
                                            int owner = -1);
  /// The process that forks; 0 before the first start().
  [[nodiscard]] pid_t nursery_pid() const noexcept { return nursery_pid_; }

 private:
  [[nodiscard]] Result<void> start_nursery();
  void end_nursery() noexcept;

  std::string program_;
  UniqueFd channel_;
  UniqueFd nursery_;  // its pidfd
  pid_t nursery_pid_ = 0;
};

/// Reaps a keeper whose pidfd is readable; its raw wait status. Errc::unavailable while it lives.
[[nodiscard]] Result<int> reap_keeper(const StartedKeeper& keeper);

}  // namespace ebb::process
