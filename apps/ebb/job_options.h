#pragma once

#include <string>
#include <vector>

#include "command.h"
#include "ebb/client/endpoint.h"
#include "ebb/model/job.h"

namespace ebb::cli {

/// The options that describe a job, the same for `run` and `submit`.
class JobOptions {
 public:
  explicit JobOptions(Parser& parser);

  /// The request that they make. Over a socket a relative --workdir is this process's; over TCP --workdir is
  /// required. The error names the option.
  [[nodiscard]] Result<model::JobRequest> request(const std::vector<std::string>& command,
                                                  client::Endpoint::Kind over) const;
  [[nodiscard]] bool dry_run() const noexcept { return dry_run_; }
  [[nodiscard]] bool expand() const noexcept { return !no_expand_; }
  /// Of the attached job; nothing: the daemon's default.
  [[nodiscard]] Result<std::optional<double>> owner_lease() const;

 private:
  [[nodiscard]] Result<void> read_numbers(model::JobRequest& request) const;
  [[nodiscard]] Result<void> read_durations(model::JobRequest& request) const;
  [[nodiscard]] Result<void> read_environment(model::JobRequest& request) const;

  std::string shell_, gpus_, gpu_ids_, ports_, cpus_, memory_, time_, grace_, priority_, name_, group_,
      workdir_, ready_, ready_timeout_, owner_lease_, log_limit_;
  std::vector<std::string> env_, env_files_;
  bool clean_env_ = false, share_ipc_ = false, dry_run_ = false, no_expand_ = false;
};

/// Takes CMD out of the words of `run` or `submit`; the parser then gets those that are left.
[[nodiscard]] Result<std::vector<std::string>> take_command(Parser& parser, Words& words);

}  // namespace ebb::cli
