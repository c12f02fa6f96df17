#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "ebb/engine/types.h"
#include "ebb/model/report.h"
#include "scheduler.h"

namespace ebb::simulation {

struct World;

/// What a keeper leaves when its tree is gone (or known to have survivors): process::EndRecord.
struct EndRecord {
  enum class Cause { leader_exit, start_failure, stop, daemon_gone, owner_gone };
  Cause cause = Cause::leader_exit;
  bool complete = false;
  model::Exit exit = {};
  model::StopReason stop_reason = {};  ///< as it came with the stop
  std::optional<Moment> leader_exited = {};
};

/// From a keeper to the daemon: process::KeeperEvent. `closed` is the end of the connection.
struct Message {
  enum class Kind { welcome, started, ended, locks, closed };
  Kind kind = Kind::closed;
  bool lives = false;  ///< welcome: the leader does
  std::optional<Moment> started = {};
  EndRecord record = {};
};
/// From the daemon to a keeper: process::KeeperCommand.
struct Command {
  enum class Kind { hello, stop, fetch_locks, ack, disown };
  Kind kind = Kind::hello;
  model::StopReason reason = {};
  Duration grace = {};
  Moment at = {};
};

/// The processes of one attempt.
struct Tree {
  bool cloned = false;    ///< the leader's process is there, but has not executed the command
  bool executed = false;  ///< it has, at some time
  bool failed = false;    ///< it could not
  bool leader = false;
  bool others = false;  ///< processes besides the leader
  bool stuck = false;   ///< one of the others cannot be killed
  model::Exit exit;
  Moment executed_at{}, leader_exited_at{};
  [[nodiscard]] bool empty() const { return !cloned && !leader && !others; }
};

/// One keeper, alive or dead, with its tree and its folder.
struct Keeper {
  enum class Phase { forked, starting, running, terminating, killing, stuck, at_end };
  AttemptId attempt;
  int job = 0;
  engine::Leases leases;
  std::uint32_t boot = 0;
  Phase phase = Phase::forked;
  bool alive = true;
  bool stopped = false;    ///< SIGSTOP
  bool listening = false;  ///< its socket is there; stays when it dies
  bool folder = true;      ///< of the attempt; false: removed
  Tree tree;

  // what it has noticed
  bool knows_start = false, knows_exit = false, stop_requested = false;
  EndRecord record;
  bool recorded = false;  ///< the record is in the folder
  std::optional<Moment> kill_at, give_up_at, alone_since;
  bool attached = false, owner_gone = false;

  // its connection
  std::uint32_t life = 0;  ///< of the daemon at its other end; 0: none
  std::uint32_t link = 0;  ///< number of the connection
  std::deque<Message> out;
  std::deque<Command> in;
  Moment out_at{}, in_at{};
};

/// All keepers of a history. Each does what keeper_loop.cc does, at its own pace.
class Keepers {
 public:
  explicit Keepers(World& world) : world_(world) {}

  [[nodiscard]] Keeper& operator[](int keeper) { return keepers_[static_cast<std::size_t>(keeper)]; }
  [[nodiscard]] const std::deque<Keeper>& all() const { return keepers_; }
  [[nodiscard]] int count() const { return static_cast<int>(keepers_.size()); }
  /// The newest of this attempt whose folder is there; -1: none.
  [[nodiscard]] int find(AttemptId attempt) const;

  // what the daemon does to it
  int fork(AttemptId attempt, int job, const engine::Leases& leases, bool attached);
  void connect(int keeper);
  void command(int keeper, Command command);
  void kill(int keeper);
  void kill_tree(int keeper);
  void daemon_dies();

  // what happens to it
  void happen(const Happening& happening);
  void owner_exits(int job);
  void reboot();
  void calm();

 private:
  void look(int number);
  void take(int number, const Command& command);
  void request_end(int number, EndRecord::Cause cause, Duration grace);
  void start_failed(int number);
  void kill_now(int number);
  void watch_daemon(int number);
  void advance(int number);
  void write_record(int number, bool complete);
  bool send(int number, Message message);
  void execute(int number);
  void leader_ends(int number, model::Exit exit);
  void emptied(int number);
  void die(int number);
  void exit(int number);

  World& world_;
  std::deque<Keeper> keepers_;
};

}  // namespace ebb::simulation
