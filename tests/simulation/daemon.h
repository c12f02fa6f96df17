#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "attempt.h"
#include "disk.h"
#include "ebb/engine/engine.h"

namespace ebb::simulation {

/// The daemon's process: a model of Shell, of submissions and of start-up in modules/daemon, around the real
/// engine. Everything in it is gone when it dies, which may be before any of its steps.
class Daemon {
 public:
  explicit Daemon(World& world) : world_(world) {}

  [[nodiscard]] bool alive() const { return alive_; }
  [[nodiscard]] engine::Engine& engine() { return *engine_; }
  /// Between any two actions: false when the daemon has just died, or had before.
  [[nodiscard]] bool step();
  void crash();
  void stop_crashing() { steps_left_.reset(); }

  // shell.cc
  void tell(engine::Event event);
  void apply(engine::Event event);
  void happen(const Happening& happening);
  void committed(Disk::Outcome outcome);

  // submission.cc: from clients
  void submit(int client);
  void cancel(int job, Duration grace);
  void owner_is(int job, const engine::Event& event);
  void drain(bool on);
  void shut_down(bool end_jobs);
  /// The owner's process has exited, and the daemon has its pidfd.
  void owner_exits(int job);

  // from keepers and trees
  void daemon_hears(const Happening& happening);
  void keeper_came(int keeper);
  void tree_emptied(int keeper);

  // from an attempt that is about to start
  void make_room_for(const engine::Leases& leases);

  /// Whether nothing is under way, and every attempt's places are gone.
  [[nodiscard]] bool at_rest() const;
  [[nodiscard]] bool submitting() const { return !submissions_.empty(); }
  /// What is decided but not on disk: for the oracle.
  [[nodiscard]] bool settled() const;
  [[nodiscard]] const std::deque<Attempt>& attempts() const { return attempts_; }

 private:
  struct Submission {
    int client = 0;
    int job = 0;
  };
  struct Pending {
    Batch batch;
    std::vector<engine::Act> then;
    std::vector<Submission> unanswered;
    bool urgent = false;
    [[nodiscard]] bool empty() const { return batch.empty() && then.empty(); }
    void drop(JobId job);
  };
  struct Watched {
    bool is_port = false;
    int id = 0;
    std::int32_t number = 0;
    int looks = 0;
    bool believed = false;  // free at the first look: told one look later
  };

  // startup.cc
  void start();
  void recover();

  // shell.cc
  void turn();
  void take(engine::Actions actions);
  void carry_out(const engine::Act& act);
  void flush();
  void commit();
  void arm_timer();
  void end_if_idle();
  void look_at(std::int32_t number);
  [[nodiscard]] Attempt* attempt(JobId job);
  Attempt& add_attempt(AttemptId id, const engine::Leases& leases);
  void refuse_new_jobs();
  void answer(const Submission& submission, bool done);
  void submitted(const Submission& submission, bool done);

  World& world_;
  bool alive_ = false;
  std::optional<std::uint64_t> steps_left_;  // until it dies

  std::optional<engine::Engine> engine_;
  std::deque<engine::Event> events_;
  bool scheduled_ = false;
  std::uint32_t tick_ = 0;
  Pending gathering_;
  std::optional<Pending> committing_;
  bool disk_error_ = false;
  std::deque<Attempt> attempts_;                // of this life; those that are over stay
  std::vector<std::pair<JobId, int>> current_;  // places of those that the shell knows
  std::vector<Watched> watches_;
  std::int32_t watch_number_ = 0;
  bool waits_for_company_ = false;
  std::vector<Submission> submissions_;               // under way
  std::vector<std::pair<Submission, bool>> answers_;  // those that were told, and how
  std::vector<int> waits_for_key_;
  std::set<int> watched_owners_;
  std::int64_t last_seq_ = 0;
  bool stopping_ = false, keeping_ = false;
};

}  // namespace ebb::simulation
