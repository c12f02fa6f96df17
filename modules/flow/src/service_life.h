// The life of a pipeline's services: set up in order of registration, stopped and cleaned in reverse.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ebb/flow/options.h"
#include "ebb/flow/report.h"
#include "ebb/flow/service.h"
#include "ebb/lifecycle/blocking.h"
#include "hooks.h"

namespace ebb::flow {

/// One thread leads, the conductor; reports come from any.
class ServiceLife {
 public:
  /// Called while a hook does not come back, every SubmitOptions::watchdog; true when it is to be left
  /// behind.
  using Stuck = std::function<bool(const std::string& what, bool starting)>;
  ServiceLife(std::vector<std::shared_ptr<ServiceBase>> services, const SubmitOptions& options, Stuck stuck);

  /// Constructs, sets up and starts each. Throws what a hook throws; the services before it are up then, and
  /// `failed` is the name of the one.
  void start(std::string& failed);
  /// Waits for the calls that are in them, then stops, cleans and destroys each that was constructed, the
  /// last first.
  void stop(bool success);

  [[nodiscard]] std::vector<ServiceReport> reports() const;
  [[nodiscard]] const std::vector<model::ReleaseRecord>& releases() const noexcept { return releases_; }
  /// The first hook that threw or hung at the end; empty where none did.
  [[nodiscard]] std::string trouble() const;
  /// A hook or a call was left behind.
  [[nodiscard]] bool left_behind() const noexcept { return left_behind_; }

 private:
  struct Life {
    std::shared_ptr<ServiceBase> service;
    ServiceReport report;
    bool constructed = false, started = false;
    bool empty = true;  // all calls from outside have returned
  };
  // A method of the service.
  static Hook hook_of(const Life& life, const char* name, void (ServiceBase::*method)());
  // What each has thrown, or null; of fewer, where one was left behind.
  std::vector<std::exception_ptr> call(const Life& life, std::vector<Hook> hooks, Duration limit,
                                       bool starting);
  bool left(bool leave);
  void await_calls(bool success);
  bool await(const Life& life, bool (ServiceBase::*calls)(BootTime));
  [[nodiscard]] Duration limit_of(const Life& life) const;
  model::ReleaseRecord release(Life& life, bool success);
  void note(Life& life, const std::function<void(ServiceReport&)>& change);

  const SubmitOptions& options_;
  Stuck stuck_;
  HookThread thread_;
  mutable std::mutex mutex_;  // of the reports
  std::vector<Life> lives_;
  std::vector<model::ReleaseRecord> releases_;
  bool left_behind_ = false;  // the conductor's
};

}  // namespace ebb::flow
