#include "ebb/lifecycle/signals.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace ebb::lifecycle {
namespace {

bool blocked(int signal) {
  sigset_t now;
  sigemptyset(&now);
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  return sigismember(&now, signal) == 1;
}

bool readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

TEST(SignalSource, ReadsSignalsInsteadOfDelivering) {
  auto source = SignalSource::make({SIGUSR1, SIGUSR2});
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(source->read(), std::nullopt);
  EXPECT_FALSE(readable(source->fd()));
  pthread_kill(pthread_self(), SIGUSR1);
  EXPECT_TRUE(readable(source->fd()));
  const auto signal = source->read();
  ASSERT_TRUE(signal.has_value());
  EXPECT_EQ(signal->number, SIGUSR1);
  EXPECT_EQ(signal->sender, ::getpid());
  EXPECT_EQ(source->read(), std::nullopt);
}

TEST(SignalSource, RestoresTheMaskAndDeliversNothingLate) {
  ASSERT_FALSE(blocked(SIGUSR1));
  {
    auto source = SignalSource::make({SIGUSR1});
    ASSERT_TRUE(source.ok());
    EXPECT_TRUE(blocked(SIGUSR1));
    pthread_kill(pthread_self(), SIGUSR1);  // its default action would end this program
  }
  EXPECT_FALSE(blocked(SIGUSR1));
}

TEST(SignalSource, MovesWithItsMask) {
  auto made = SignalSource::make({SIGUSR1});
  ASSERT_TRUE(made.ok());
  {
    SignalSource source = std::move(*made);
    EXPECT_GE(source.fd(), 0);
    SignalSource other = std::move(source);
    EXPECT_TRUE(blocked(SIGUSR1));
    pthread_kill(pthread_self(), SIGUSR1);
    EXPECT_EQ(other.read()->number, SIGUSR1);
  }
  EXPECT_FALSE(blocked(SIGUSR1));
}

TEST(SignalSource, RefusesWhatIsNoSignal) {
  EXPECT_EQ(SignalSource::make({9999}).error().code, Errc::invalid);
}

TEST(DieOf, ShowsTheParentTheSignal) {
  const pid_t child = ::fork();
  if (child == 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGINT, SIG_IGN);
    die_of(SIGINT);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

TEST(SignalName, IsTheUsualOne) {
  EXPECT_EQ(signal_name(SIGINT), "SIGINT");
  EXPECT_EQ(signal_name(SIGHUP), "SIGHUP");
  EXPECT_EQ(signal_name(99), "signal 99");
}

}  // namespace
}  // namespace ebb::lifecycle
