#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb::cli {

/// A program that we started. It gets SIGTERM when we go, and is killed and reaped when this goes.
class Program {
 public:
  /// With our environment and `set` over it. `out` is its stdout and stderr; -1: nobody reads them.
  [[nodiscard]] static Result<Program> start(const std::filesystem::path& file,
                                             std::vector<std::string> words,
                                             const std::map<std::string, std::string>& set, int out = -1);
  Program(Program&& other) noexcept;
  Program& operator=(Program&& other) noexcept;
  ~Program();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
  void signal(int number) const noexcept;
  /// Waits for its end, `limit` at most; then it is reaped.
  [[nodiscard]] bool wait(Duration limit);

 private:
  Program(pid_t pid, UniqueFd pidfd) noexcept : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = 0;  // 0: reaped
  UniqueFd pidfd_;
};

/// Waits until this is readable, or its other end has gone; false at the deadline.
[[nodiscard]] bool wait_readable(int fd, BootTime deadline);
/// Waits until all of these are readable, as a pidfd is once its process has exited; false at the deadline.
[[nodiscard]] bool wait_for_all(const std::vector<UniqueFd>& fds, BootTime deadline);

}  // namespace ebb::cli
