#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/process/containment.h"
#include "ebb/process/spawn.h"
#include "world.h"

namespace ebb::process::testing {

using namespace std::chrono_literals;

/// A folder for attempts, and what this machine can contain them with. Its base cgroups go with it.
class Site {
 public:
  Site();
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  /// Makes folder and keeper readable for another user, who is about to run in this site.
  void give_to(uid_t uid);

  TempDir dir;
  std::string keeper;                    ///< the program
  std::optional<KeeperStarter> starter;  ///< where set, attempts are started through it
  Containment containment;

 private:
  pid_t maker_;
};

/// A pipe with a name, by which a job tells the test where it is.
class Signpost {
 public:
  explicit Signpost(const std::filesystem::path& path);
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The next line that a job wrote; empty when none came in 20 s.
  [[nodiscard]] std::string line();

 private:
  std::string path_;
  UniqueFd fd_;
  std::string rest_;
};

/// One real keeper with one job. Ends and reaps it when destroyed.
class Attempt {
 public:
  Attempt(Site& site, std::vector<std::string> argv, const std::string& label = "7f3a91c2.1");
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  LaunchSpec spec;  ///< to be changed before start()

  void use(Tiers tiers);
  void start(std::vector<int> locks = {}, int owner = -1);
  void send(const KeeperCommand& command);
  /// Waits for an event of this type; fails the test after 20 s.
  template <typename E>
  std::optional<E> wait() {
    const BootTime deadline = BootClock::now() + 20s;
    for (;;) {
      for (std::size_t i = 0; i < events_.size(); ++i) {
        if (auto* event = std::get_if<E>(&events_[i])) {
          E found = std::move(*event);
          events_.erase(events_.begin() + static_cast<std::ptrdiff_t>(i));
          return found;
        }
      }
      if (!receive(deadline)) return std::nullopt;
    }
  }
  /// The end record; an empty one, and a failure, when it does not come.
  EndRecord end();
  /// Acknowledges the end and waits for the keeper's; what it exited with.
  int finish();
  /// Waits until the keeper's process is gone, whatever became of it; its raw wait status.
  int wait_for_keeper();
  /// Drops the connection, as a daemon's death would.
  void hang_up();
  /// Connects anew, as the next daemon would.
  void adopt();
  [[nodiscard]] std::string output() const;
  [[nodiscard]] pid_t keeper_pid() const { return keeper_->pid; }
  void kill_keeper() const;
  std::vector<UniqueFd> locks;  ///< that came with Locks

 private:
  bool receive(BootTime deadline);

  Site& site_;
  std::optional<StartedKeeper> keeper_;
  std::optional<KeeperLink> link_;
  std::vector<KeeperEvent> events_;
  bool reaped_ = false;
};

/// Live processes that have `word` among their arguments, wherever they are.
[[nodiscard]] int processes_with(const std::string& word);
/// Waits for there to be none, by their pidfds; false after 20 s.
[[nodiscard]] bool none_left_with(const std::string& word);
/// A word that no other process has: for processes_with().
[[nodiscard]] std::string unique_number();

}  // namespace ebb::process::testing
