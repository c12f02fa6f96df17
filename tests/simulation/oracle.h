#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "disk.h"
#include "ebb/engine/actions.h"
#include "ebb/engine/events.h"
#include "keepers.h"
#include "scheduler.h"

namespace ebb::simulation {

struct World;

/// Says what must not happen. It believes what happens in the simulated world (processes, devices, the disk,
/// what clients were told) and what the engine is told and answers; its books are its own. Of the engine's
/// state it reads the public views only, to compare them with these books.
class Oracle {
 public:
  explicit Oracle(World& world) : world_(world) {}

  [[nodiscard]] bool sound() const { return violation_.empty(); }
  /// The first one; what follows from it is not looked for.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  void fail(const std::string& what);

  // ---- oracle.cc: what happens in the world
  void new_job() { facts_.emplace_back(); }
  /// From now on a report may give this reason: its cause has been seen.
  void may_end(int job, model::StopKind kind);
  void executed(const Keeper& keeper);
  void verified(int gpu, Moment at) { verified_[gpu] = at; }
  void starts(AttemptId attempt, const engine::Leases& leases);
  void acknowledged(int client, int job);
  void daemon_ends_jobs() { daemon_ends_jobs_ = true; }
  void reboots() { verified_.clear(); }
  /// Too long after the faults, something is still there; or nothing happens any more.
  void never_ends();
  void at_rest();

  // ---- disk_oracle.cc: what is on disk from now on
  void job_on_disk(const AddJob& added);
  void on_disk(const engine::Record& record);

  // ---- engine_oracle.cc, queue_oracle.cc: what the engine is told, and what it answers
  void daemon_starts();
  void daemon_dies();
  void applied(const engine::Event& event, const engine::Actions& actions);
  void carried_out(const engine::Act& act);
  /// The engine knows all that the daemon does.
  void all_told();
  void checked(const engine::JobInfo& job, bool accepted);

 private:
  using DeviceKey = std::pair<bool, int>;  // is_port, id
  /// What is true of a job, whatever daemon lives.
  struct Facts {
    std::uint32_t may_end = 0;  // a bit for each StopKind whose cause was seen
    bool on_disk = false, acknowledged = false;
    int executed = 0, reports = 0;
    Moment executed_at{};
    std::optional<engine::Leases> leases;  // on disk
    std::uint32_t attempt = 0;             // on disk, and holding these
  };
  /// A job that the engine of this life knows.
  struct Live {
    engine::JobInfo info;
    bool connected = false, suspended = false;
    Moment alone_since{};  // its owner's lease has been running out since then
    Moment told_so{};  // when the engine heard of that: a connection's end is told late, with its last sign
                       // of life
    std::optional<model::StopKind> stop;  // was asked for, in this life or before
    bool acquiring = false, active = false;
    engine::Leases leases;
    std::optional<Moment> perhaps_first, surely_first;
  };
  struct Availability;

  [[nodiscard]] Facts& facts(JobId job);
  // disk_oracle.cc
  void reported(const model::Report& report);
  void free_leases(Facts& of, AttemptId attempt);
  // engine_oracle.cc
  void follow(const engine::Event& event);
  void follow(const engine::Record& record);
  void follow(const engine::Act& act);
  void owner_event(const engine::Event& event);
  void asked_to_stop(JobId job, const model::StopReason& reason);
  void claim(AttemptId attempt, const engine::Leases& leases);
  void unclaim(JobId job);
  void check_views();
  // queue_oracle.cc
  void check_queue(const engine::Actions& actions);

  World& world_;
  std::string violation_;
  std::vector<Facts> facts_;
  std::map<DeviceKey, AttemptId> leased_;  // on disk
  std::int64_t leased_memory_ = 0;
  std::map<int, Moment> verified_;
  bool daemon_ends_jobs_ = false;

  // of this life
  bool restoring_ = true, draining_ = false, shutting_down_ = false;
  std::vector<Live> live_;  // by priority, then submission
  std::map<DeviceKey, AttemptId> claims_;
  std::set<DeviceKey> watched_;
};

}  // namespace ebb::simulation
