#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>

namespace ebb::process::testing {

/// A fresh folder under the temporary directory, removed with all that is in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Runs `body` in a forked child, whose expectations count as the test's own. The child ends with _exit.
void in_child(const std::function<void()>& body);

/// For use in_child(): a mount namespace of its own (with a user namespace where not root).
[[nodiscard]] bool enter_mount_namespace();
/// For use in_child(), after enter_mount_namespace(): mounts a tmpfs of this size.
[[nodiscard]] bool mount_tmpfs(const std::filesystem::path& folder, const std::string& size);

/// For use in_child(): runs `body` as process 1's child in a PID namespace with its own /proc.
void in_pid_namespace(const std::function<void()>& body);

/// A child that does nothing until it is destroyed (killed and reaped).
class Idle {
 public:
  /// `before` runs in the child first; the constructor returns when it has.
  explicit Idle(const std::function<void()>& before = {});
  ~Idle();
  Idle(const Idle&) = delete;
  Idle& operator=(const Idle&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Ends it now; its number is free afterwards.
  void end();

 private:
  pid_t pid_ = -1;
};

/// Control groups right below `path` that come and go, as those of other programs do, as long as it lives.
class PassingCgroups {
 public:
  explicit PassingCgroups(std::string path);

 private:
  std::jthread thread_;
};

}  // namespace ebb::process::testing
