#include "exit_watch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <vector>

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

class ExitWatchTest : public ::testing::Test {
 protected:
  ~ExitWatchTest() override {
    for (const pid_t pid : children_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  pid_t child() {
    const pid_t pid = ::fork();
    if (pid == 0) {
      for (;;) ::pause();
    }
    if (pid < 0)
      throw std::system_error(errno, std::generic_category(), "fork");  // -1 would be all processes
    return children_.emplace_back(pid);
  }
  static UniqueFd pidfd_of(pid_t pid) {
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  }
  static void kill_and_wait(pid_t pid) {
    ::kill(pid, SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  }

  boost::asio::io_context io_{1};
  std::vector<pid_t> children_;
};

TEST_F(ExitWatchTest, TellsOnceThatTheProcessHasExited) {
  const pid_t pid = child();
  int exits = 0;
  const ExitWatch watch(io_, pidfd_of(pid), [&] { ++exits; });
  io_.poll();
  EXPECT_EQ(exits, 0);
  kill_and_wait(pid);
  io_.run_for(1s);
  EXPECT_EQ(exits, 1);
}

// Two have exited, and the loop is told of both at once. While it tells of the first, the watch of the second
// is dropped and one of a living process takes its place, in Asio's memory too: that one gets the second's
// event.
TEST_F(ExitWatchTest, BelievesNoEventThatWasAnothers) {
  const pid_t lives = child();
  for (int round = 0; round < 20; ++round) {
    const pid_t first = child(), second = child();
    std::optional<ExitWatch> watches[2];
    std::optional<ExitWatch> late;
    bool wrong = false;
    const auto replace = [&](int other) {
      watches[other].reset();
      if (!late) late.emplace(io_, pidfd_of(lives), [&] { wrong = true; });
    };
    watches[0].emplace(io_, pidfd_of(first), [&] { replace(1); });
    watches[1].emplace(io_, pidfd_of(second), [&] { replace(0); });
    io_.poll();
    kill_and_wait(first);
    kill_and_wait(second);
    io_.run_for(20ms);
    ASSERT_TRUE(late);
    EXPECT_FALSE(wrong) << "round " << round;
    io_.restart();
  }
}

}  // namespace
}  // namespace ebb::daemon
