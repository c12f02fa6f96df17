#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ebb/engine/engine.h"

namespace ebb::engine::test {

/// What a run of the toy world is made from; the same options give the same run.
struct ToyOptions {
  std::uint64_t seed = 1;
  int gpus = 4;
  int ports = 3;
  std::int64_t memory_bytes = 400;
  Limits limits{6, 1'000, 1'000, std::chrono::seconds(60)};
  int most_jobs = 60;   ///< live at a time
  bool crashes = true;  ///< the daemon dies now and then, and starts again from its journal
};

/// A machine, its users and a daemon's shell, all in one thread and driven by a random number generator: jobs
/// come, end, hang, are cancelled and lose their owners; devices are used from outside or kept by dead jobs;
/// the daemon crashes between any two steps. The engine is the real one.
///
/// Three kinds of state: *the world* (processes, keepers, users of devices) and *the journal* (what has been
/// committed) survive a crash, *the shell* (commits and answers under way) does not.
///
/// After each event the rules are checked; what breaks one is told by violations(), with the step it happened
/// in. Not thread-safe.
class ToyWorld {
 public:
  explicit ToyWorld(const ToyOptions& options);

  /// That many random steps.
  void run(int steps);
  /// The outsiders leave and nobody submits; every job must end by itself.
  void settle();
  /// SIGTERM at the daemon, perhaps twice: it must come to rest with every attempt reported and every queued
  /// job still in the journal. Then the next daemon starts.
  void shut_down();

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  [[nodiscard]] std::uint64_t events() const { return events_; }
  /// Jobs whose end has been committed.
  [[nodiscard]] std::size_t ended() const;
  [[nodiscard]] std::size_t crashes() const { return crashes_; }

 private:
  using DeviceKey = std::pair<bool, int>;  // is_port, id

  /// A row of the journal.
  struct Row {
    JobInfo info;
    int attempts = 0;
    std::optional<Restored::Attempt> attempt;
    bool ended = false;
  };
  /// A keeper and its tree.
  struct Keeper {
    Leases leases;
    bool alive = true;
    bool hangs = false;  ///< only a kill ends it
    bool ready_asked = false;
    model::Exit exit;
    model::StopKind seen = model::StopKind::completed;
    BootTime exited_at{};
    std::optional<BootTime> kill_at;
    BootTime started{};
  };
  struct Commit {
    std::vector<Record> records;
    std::vector<Act> then;
  };

  // toy_world.cc: what happens
  void step();
  void submit();
  void cancel();
  void answer_acquire();
  void answer_release();
  void answer_ready();
  void deliver_start();
  void deliver_end();
  void exit_of_a_process();
  void owner_event();
  void outsider();
  void look();
  void stale_message();
  void pass_time(Duration by);
  void crash();

  // toy_shell.cc: what the daemon does about it
  void start_daemon();
  void feed(const Event& event);
  void perform(const Act& act);
  void commit_one(bool carry_out = true);
  void write(const Record& record);
  void kill_due();

  // toy_checks.cc: what must hold
  struct Availability;
  void check(const Actions& actions);
  void check_jobs();
  void check_positions();
  void check_leases();
  void check_queue(const Actions& actions);
  void fail(const std::string& what);

  [[nodiscard]] std::uint64_t dice(std::uint64_t sides) { return random_() % sides; }
  [[nodiscard]] bool chance(std::uint64_t one_in) { return dice(one_in) == 0; }
  [[nodiscard]] Instant now() const { return {boot_, wall_}; }
  template <typename Map>
  [[nodiscard]] auto any_of(Map& map) {
    return std::next(map.begin(), static_cast<std::ptrdiff_t>(dice(map.size())));
  }

  ToyOptions options_;
  std::mt19937_64 random_;
  BootTime boot_ = BootTime(std::chrono::seconds(1'000));
  WallTime wall_ = WallTime(std::chrono::seconds(1'800'000'000));

  // the world
  std::map<AttemptId, Keeper> keepers_;
  std::set<DeviceKey> outsiders_;
  std::set<int> dirty_gpus_;  // something of an ended attempt is still on them

  // the journal
  std::map<JobId, Row> journal_;
  std::set<int> quarantine_;
  std::int64_t last_seq_ = 0;

  // the shell
  std::optional<Engine> engine_;
  std::deque<Commit> commits_;
  std::map<AttemptId, Leases> acquiring_;
  std::map<AttemptId, act::Release> releasing_;
  std::set<AttemptId> to_tell_started_;
  std::set<AttemptId> to_tell_ended_;
  std::set<DeviceKey> watched_;
  std::map<JobId, JobInfo> live_;  // submitted, and no end has been decided
  std::map<DeviceKey, AttemptId> claims_;
  std::map<JobId, BootTime> first_since_;
  std::map<JobId, BootTime> perhaps_first_since_;
  std::set<AttemptId> cancelled_;  // by settle()
  bool restoring_ = false;
  bool draining_ = false;
  bool calm_ = false;  // settle(): nothing goes wrong any longer

  std::uint64_t events_ = 0;
  std::size_t crashes_ = 0;
  std::vector<std::string> violations_;
};

}  // namespace ebb::engine::test
