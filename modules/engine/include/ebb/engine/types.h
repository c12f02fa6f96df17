#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/model/devices.h"
#include "ebb/model/job.h"

namespace ebb::engine {

/// The moment of an event. Decisions use `boot`; `wall` is only written down.
struct Instant {
  BootTime boot{};
  WallTime wall{};
};

/// [queue] of the configuration, and what the daemon may do with jobs.
struct Limits {
  std::int64_t max_running = 256;
  std::int64_t max_queued = 1'000'000;
  std::int64_t max_per_user = 200'000;           ///< queued and running jobs of one user
  Duration overtake = std::chrono::seconds(60);  ///< how long the first waiting job may be overtaken
};

/// What there is to lease. Fixed for the life of an engine.
struct Machine {
  struct Gpu {
    int id = 0;
    int numa_node = -1;
    std::vector<int> links;  ///< to each GPU of the list, by position: 0 none, higher is closer (NVLink)
  };
  std::vector<Gpu> gpus;          ///< ascending by id
  std::vector<int> ports;         ///< ascending
  std::int64_t memory_bytes = 0;  ///< that --memory shares out
};

/// What a job asks of the machine.
struct Demand {
  int gpus = 0;
  std::vector<int> gpu_ids;  ///< exactly these, ascending; empty: any
  int ports = 0;
  std::int64_t memory_bytes = 0;
};

/// All that the engine knows of a job; its command, environment and the like stay outside.
struct JobInfo {
  JobId id;
  std::int64_t seq = 0;  ///< order of submission, unique; the shell numbers them
  std::string user;
  int priority = 0;
  Demand demand;
  Duration grace{};
  std::optional<Duration> time;         ///< --time, from the moment it runs
  std::optional<Duration> owner_lease;  ///< attached
  bool waits_for_ready = false;
};

/// What an attempt holds.
struct Leases {
  std::vector<int> gpus;
  std::vector<int> ports;
  std::int64_t memory_bytes = 0;
};

}  // namespace ebb::engine
