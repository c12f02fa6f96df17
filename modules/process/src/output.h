#pragma once

#include <poll.h>

#include <optional>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/launch.h"
#include "ebb/process/log_writer.h"
#include "ready.h"

namespace ebb::process {

/// The keeper's ends of a job's two output pipes. It reads whatever comes, so that the job never waits for
/// it, and hands it to the log. One thread.
class Output {
 public:
  /// The ends that the job writes to.
  struct WriteEnds {
    UniqueFd out;
    UniqueFd err;
  };
  [[nodiscard]] Result<WriteEnds> open(const LaunchSpec& spec);

  void add_polls(std::vector<pollfd>& entries) const;
  /// Takes what has arrived, of each pipe at most a bounded amount, so that a flood does not keep the caller
  /// from its other work.
  void read(const Ready& ready) noexcept;
  /// After the tree's end: takes what the pipes still hold and closes them and the log. The pipe's end is not
  /// waited for, since a process outside the tree may have been handed the other side.
  void finish() noexcept;

  [[nodiscard]] std::uint64_t bytes() const noexcept { return log_ ? log_->offset() : 0; }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return log_ ? log_->dropped() : 0; }

 private:
  void drain(UniqueFd& pipe, LogStream stream, std::size_t most) noexcept;

  UniqueFd out_;
  UniqueFd err_;
  std::optional<LogWriter> log_;
};

}  // namespace ebb::process
