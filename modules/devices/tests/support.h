#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <system_error>

namespace ebb::devices::test {

/// A fresh folder, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "ebb-devices.XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// The machine that the stand-in driver shows (tests/nvml_stub/README.md), for this process and its helpers.
class StubDriver {
 public:
  explicit StubDriver(const std::string& lines) {
    set(lines);
    ::setenv("EBB_NVML_LIBRARY", EBB_TEST_NVML_STUB, 1);
    ::setenv("EBB_NVML_STUB", control().c_str(), 1);
  }
  StubDriver(const StubDriver&) = delete;
  StubDriver& operator=(const StubDriver&) = delete;
  ~StubDriver() {
    ::unsetenv("EBB_NVML_LIBRARY");
    ::unsetenv("EBB_NVML_STUB");
  }
  /// Replaces the whole machine at once.
  void set(const std::string& lines) {
    std::ofstream(folder_ / "next") << lines;
    std::filesystem::rename(folder_ / "next", control());
  }
  void remove() { std::filesystem::remove(control()); }
  [[nodiscard]] std::filesystem::path control() const { return folder_ / "control"; }

 private:
  TempDir folder_;
};

/// Runs the loop until the condition holds; false after ten seconds.
inline bool run_until(boost::asio::io_context& loop, const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    loop.restart();
    loop.run_one_until(deadline);
  }
  return true;
}

/// Runs `body` in another process of this test; its failed expectations are printed there and counted here.
inline void in_child(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    body();
    std::fflush(nullptr);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "failed in the child, status " << status;
}

/// A process that does nothing until it is told to end, or this object goes.
class Sleeper {
 public:
  Sleeper() {
    pid_ = ::fork();
    if (pid_ == 0) {
      for (;;) ::pause();
    }
    if (pid_ < 0)
      throw std::system_error(errno, std::generic_category(), "fork");  // -1 would be all processes
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  ~Sleeper() { end(); }
  /// Killed, and a zombie until end().
  void kill() {
    ::kill(pid_, SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

}  // namespace ebb::devices::test
