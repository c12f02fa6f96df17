#pragma once

#include <poll.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/launch.h"
#include "ebb/process/log_writer.h"
#include "ready.h"

namespace ebb::process {

/// The keeper's ends of a job's two output pipes. It reads whatever comes, so that the job never waits for
/// it, and hands it to the log, which begins with the first byte: most short jobs never write one, and the
/// files would be most of what such a job costs the disk. One thread.
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

  [[nodiscard]] std::uint64_t bytes() const noexcept { return log_ ? log_->offset() : lost_; }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return log_ ? log_->dropped() : lost_; }

 private:
  void drain(UniqueFd& pipe, LogStream stream, std::size_t most) noexcept;
  void keep(LogStream stream, std::string_view bytes) noexcept;

  UniqueFd out_;
  UniqueFd err_;
  std::string log_dir_;  // empty: the output is read and dropped
  std::uint64_t log_limit_ = 0;
  std::uint64_t lost_ = 0;  // bytes that came while no log could be begun
  std::optional<LogWriter> log_;
};

}  // namespace ebb::process
