#pragma once

#include <poll.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/end_record.h"
#include "ebb/process/keeper_protocol.h"
#include "ebb/process/launch.h"
#include "endpoint.h"
#include "output.h"
#include "ready.h"
#include "tree.h"

namespace ebb::process {

// The keeper's states; what each means stands in keeper.h.
struct Starting {
  std::optional<BootTime> kill_at;  // an end was asked for already
};
struct Running {
  std::optional<BootTime> time_limit;
};
struct Terminating {
  BootTime kill_at;
};
struct Killing {
  BootTime give_up_at;
};
struct Stuck {};
struct AtEnd {};
using State = std::variant<Starting, Running, Terminating, Killing, Stuck, AtEnd>;

/// What a keeper is given besides its spec.
struct Descriptors {
  UniqueFd spec;
  UniqueFd link;
  UniqueFd owner;
  UniqueFd folder;  // the attempt's, locked (keeper_lock.h)
  std::vector<UniqueFd> locks;
};

/// One attempt, from its start to its end. One thread, in a process of its own.
class Keeper {
 public:
  Keeper(LaunchSpec spec, Descriptors descriptors, UniqueFd self)
      : spec_(std::move(spec)),
        self_(std::move(self)),
        owner_(std::move(descriptors.owner)),
        locks_(std::move(descriptors.locks)),
        folder_(std::move(descriptors.folder)),
        tree_(spec_, self_.get()),
        endpoint_(std::move(descriptors.link)) {}

  /// Returns the process's exit status when the end was acknowledged, or need not be.
  int run();

 private:
  template <typename S>
  [[nodiscard]] bool in() const noexcept {
    return std::holds_alternative<S>(state_);
  }
  [[nodiscard]] bool ending() const noexcept { return !in<Starting>() && !in<Running>(); }

  Result<void> start();
  void wait_for_events();
  void poll_once(std::optional<BootTime> deadline);
  [[nodiscard]] std::optional<BootTime> next_deadline() const;

  void take_news(const Ready& ready);
  void take_commands(const Ready& ready);
  void take(const Stop& stop);
  void take(const Kill& kill);
  void disown();
  void answer(std::size_t from, const Hello& hello);
  void watch_daemon();
  void listen_for_daemon();
  void take_signals();
  void advance();

  void request_end(EndCause cause, Duration grace, std::string reason);
  void leader_started();
  void terminate(BootTime kill_at);
  void start_failed(StartFailure failure);
  void leader_exited(int status);
  void kill_now();
  void declare_survivors();
  void finish();
  void count(std::uint64_t processes) noexcept { record_.processes = std::max(record_.processes, processes); }
  [[nodiscard]] bool write_record() noexcept;

  LaunchSpec spec_;
  UniqueFd self_;   // pidfd of this process, by which init and leader see it die
  UniqueFd owner_;  // pidfd of the owner's process, or empty
  std::vector<UniqueFd> locks_;
  UniqueFd folder_;
  UniqueFd signals_;
  Tree tree_;
  Output output_;
  Endpoint endpoint_;

  State state_ = Starting{};
  EndRecord record_;
  pid_t leader_ = 0;
  std::optional<BootTime> alone_since_;  // when the last daemon's connection ended
  // Of a daemon that is connected, while its silence would end the tree.
  std::optional<BootTime> next_look_;
  int silent_looks_ = 0;
  bool owner_gone_ = false;
  bool signals_ready_ = false;
  bool acknowledged_ = false;
  std::vector<pollfd> polls_;
};

}  // namespace ebb::process
