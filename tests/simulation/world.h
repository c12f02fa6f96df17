#pragma once

#include <string>
#include <vector>

#include "clients.h"
#include "daemon.h"
#include "disk.h"
#include "keepers.h"
#include "machine.h"
#include "oracle.h"
#include "plan.h"
#include "trace.h"

namespace ebb::simulation {

/// A job that some daemon has given an id, whether it came to be on disk or not.
struct Job {
  engine::JobInfo info;
  int client = 0;
};

/// One history: everything that there is, and what happens to it.
struct World {
  World(std::uint64_t seed, const Options& options);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Until all is at rest after the faults, or something is wrong.
  void run();

  // ---- the clocks
  [[nodiscard]] Moment now() const { return scheduler.now(); }
  /// Of a machine that booted when this boot began.
  [[nodiscard]] BootTime boot(Moment moment) const {
    return BootTime(moment - booted_at + Duration(1'000'000));
  }
  [[nodiscard]] BootTime boot() const { return boot(now()); }
  [[nodiscard]] Moment moment(BootTime time) const {
    return time.time_since_epoch() + booted_at - Duration(1'000'000);
  }
  [[nodiscard]] WallTime wall() const {
    return WallTime(Duration(1'800'000'000'000'000) + now() + wall_skew);
  }

  // ---- chance
  /// Whether this fault happens here and now: one time in so many, where the seed has it, before the calm.
  [[nodiscard]] bool strikes(Fault fault, std::uint64_t one_in) {
    return plan.has(fault) && !calm && random.chance(one_in);
  }
  void fate_of_keeper(int keeper);

  [[nodiscard]] const Program& program(int job) const {
    return clients.program(jobs[static_cast<std::size_t>(job)].client);
  }
  /// Jobs' ids tell their place, and are no small numbers.
  [[nodiscard]] static int job_of(JobId id) { return static_cast<int>(id.value() & 0xffU); }
  int add_job(int client, std::int64_t seq);

  void say(const std::string& text) const { trace.say(now(), text); }

  Random random;
  Plan plan;
  Trace trace;
  Scheduler scheduler;
  Oracle oracle;
  Machine machine;
  Keepers keepers;
  Disk disk;
  Clients clients;
  Daemon daemon;
  std::vector<Job> jobs;

  std::uint32_t life = 0;  ///< of the daemon, counted
  std::uint32_t boot_number = 1;
  Moment booted_at{};
  Duration wall_skew{};
  bool calm = false;  ///< nothing goes wrong any longer
  std::uint64_t events = 0;

 private:
  void happen(const Happening& happening);
  void plan_faults();
  void stop_faults();
  void cancel_hanging();
  void reboot();
  void admin_acts(std::int32_t what);
  [[nodiscard]] bool at_rest() const;
};

}  // namespace ebb::simulation
