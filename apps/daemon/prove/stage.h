#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ebb/client/client.h"
#include "ebb/model/report.h"
#include "program.h"

namespace ebb::cli {

/// A daemon of its own in a folder of its own, with two declared GPUs, and what runs under it. Ports it
/// shares with the machine's other daemons by their common locks, so that nobody's lease is touched.
class Stage {
 public:
  explicit Stage(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Returns when it answers. Again after it was killed: it recovers.
  [[nodiscard]] Result<void> start_daemon();
  [[nodiscard]] Program& daemon() { return *daemon_; }
  [[nodiscard]] Result<client::Client> connect() const;

  /// An attached job that holds everything the daemon has, and the job that waits for it.
  struct Job {
    Program client;
    JobId id;
    pid_t leader = 0, keeper = 0;
    pid_t init = 0;                   ///< of its PID namespace; 0: it has none
    std::vector<UniqueFd> processes;  ///< pidfds of all that the job started
    JobId next;
  };
  /// Returns when the job's processes are all there.
  [[nodiscard]] Result<Job> start_job();
  /// Waits until the job that waited has run; false at the limit.
  [[nodiscard]] Result<bool> wait_for_next(const Job& job, Duration limit) const;
  [[nodiscard]] Result<model::Report> report(const Job& job) const;
  /// What is there of a job that has ended, in words; seen from outside.
  [[nodiscard]] Result<std::vector<std::string>> leftovers(const Job& job) const;
  /// What is there once the daemon has ended.
  [[nodiscard]] Result<std::vector<std::string>> leftovers_without_daemon() const;

 private:
  [[nodiscard]] std::vector<pid_t> marked() const;
  [[nodiscard]] Result<pid_t> keeper_of(const std::string& attempt) const;
  [[nodiscard]] std::filesystem::path socket() const { return folder_ / "ebb.sock"; }

  std::filesystem::path folder_;
  std::optional<Program> daemon_;
};

}  // namespace ebb::cli
