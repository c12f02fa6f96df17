#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "asio_timers.h"
#include "ebb/daemon/config.h"
#include "ebb/devices/gpu_checker.h"
#include "ebb/devices/inventory.h"
#include "ebb/devices/ports.h"
#include "ebb/engine/events.h"
#include "ebb/process/containment.h"
#include "ebb/process/spawn.h"
#include "ebb/store/store.h"
#include "held_locks.h"

namespace ebb::daemon {

class Attempt;

/// Under which name the database has the GPUs' baselines.
inline constexpr const char* kBaselinesName = "gpu-baselines";

/// What every part of the shell works with: made once at the start, outlives them all.
struct Context {
  Context(boost::asio::io_context& loop, Config configuration, store::Store database)
      : io(loop), config(std::move(configuration)), store(std::move(database)), timers(loop) {}

  boost::asio::io_context& io;
  Config config;
  store::Store store;
  AsioTimers timers;
  const Clock& clock = system_clock();

  process::Containment containment;
  devices::Inventory inventory;
  std::optional<devices::LockDirectory> machine_locks;  ///< GPUs and ports
  std::optional<devices::LockDirectory> private_locks;  ///< declared GPUs
  std::optional<devices::PortPool> ports;
  devices::BaselineTable baselines;
  std::unique_ptr<devices::NvmlClient> nvml;
  std::unique_ptr<devices::GpuChecker> gpus;
  HeldLocks locks;

  std::optional<process::KeeperStarter> keepers;
  std::map<std::string, std::uint64_t> limits;  ///< soft ones of jobs that bring none, by name
  std::filesystem::path attempts;               ///< what STATE/attempts is or leads to (attempts_folder.h)
  std::filesystem::path logs;                   ///< STATE/logs

  /// For what may block on a disk: removing scratch folders and cgroups.
  boost::asio::thread_pool files{1};
  /// Shared by every attempt that is finished but whose folder and cgroups are not removed yet.
  std::shared_ptr<char> closing = std::make_shared<char>();
  /// Writes the table of baselines to the database.
  void save_baselines();
  /// Tells the engine. Safe to call at any point of the loop's thread; the event is applied after the current
  /// one.
  std::function<void(engine::Event)> tell;
  /// Attempts whose report is on disk but that still wait for something: their keeper's exit, survivors, a
  /// GPU that is quarantined. They take themselves out.
  std::set<std::shared_ptr<Attempt>> lingering;
  /// Tells that nobody knows any longer what is on disk (Store::Outcome::fatal): the daemon must end.
  std::function<void(const Error&)> disk_failed;

  [[nodiscard]] const devices::Gpu& gpu(int id) const;
  [[nodiscard]] const devices::LockDirectory& lock_directory(const devices::Gpu& gpu) const {
    return gpu.kind == devices::GpuKind::declared ? *private_locks : *machine_locks;
  }
  [[nodiscard]] std::filesystem::path attempt_folder(AttemptId id) const { return attempts / id.str(); }
  [[nodiscard]] std::filesystem::path log_folder(AttemptId id) const { return logs / id.str(); }
  [[nodiscard]] std::filesystem::path scratch_folder(AttemptId id) const {
    return config.jobs.scratch / id.str();
  }
};

}  // namespace ebb::daemon
