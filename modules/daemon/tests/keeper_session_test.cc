// The daemon's tie to a keeper, which is played by the test: what counts as an answer, and how a loss is
// told.
#include "keeper_session.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;
using Loss = KeeperSession::Loss;

// A session with a limit of 50 ms on answers, and the other side of its connection.
class KeeperSessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ours_ = UniqueFd(pair[0]);
    keeper_ = UniqueFd(pair[1]);
  }
  void TearDown() override {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
  }

  // A process that stands for the keeper's.
  void begin_with_child() {
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      // With its copy of the keeper's side the connection would outlive what the test closes.
      ours_.reset();
      keeper_.reset();
      for (;;) ::pause();
    }
    process::StartedKeeper started{.pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child_, 0))),
                                   .pid = child_,
                                   .link = process::KeeperLink(std::move(ours_))};
    session_.begin(std::move(started));
  }
  void say(const process::KeeperEvent& event) {
    const std::string packet = process::encode(event);
    ASSERT_EQ(::send(keeper_.get(), packet.data(), packet.size(), 0), static_cast<ssize_t>(packet.size()));
  }
  // Runs the loop until something is lost.
  std::vector<Loss> losses(std::size_t count = 1) {
    const BootTime deadline = BootClock::now() + 20s;
    while (lost_.size() < count && BootClock::now() < deadline) io_.run_one_for(100ms);
    return lost_;
  }

  boost::asio::io_context io_;
  std::vector<Loss> lost_;
  int said_ = 0;
  std::vector<std::string> foreign_;
  UniqueFd ours_, keeper_;
  pid_t child_ = -1;
  KeeperSession session_{io_,
                         {.said = [this](const process::KeeperEvent&) { ++said_; },
                          .handed_locks = [](const std::vector<UniqueFd>&) {},
                          .lost = [this](Loss loss) { lost_.push_back(loss); },
                          .foreign = [this](const std::string& why) { foreign_.push_back(why); }},
                         50ms};
};

TEST_F(KeeperSessionTest, NewsThatWasOnItsWayIsNoAnswer) {
  begin_with_child();
  session_.stop({.reason = {}, .grace = 10s}, 5s);
  say(process::Started{.leader_pid = 4711, .init_pid = 0, .at = process::moment_now()});
  EXPECT_EQ(losses(), std::vector{Loss::unanswered});
  EXPECT_EQ(said_, 1);
}

TEST_F(KeeperSessionTest, AnAnswerToAnEarlierRequestAnswersNoLaterOne) {
  begin_with_child();
  session_.stop({.reason = {}, .grace = 10s}, 5s);
  session_.stop({.reason = {}, .grace = 5s}, 5s);
  say(process::Welcome{});
  EXPECT_EQ(losses(), std::vector{Loss::unanswered});
}

TEST_F(KeeperSessionTest, AnAnsweredStopThatIsNotCarriedOutIsOverdue) {
  begin_with_child();
  session_.stop({.reason = {}, .grace = 20ms}, 20ms);
  say(process::Welcome{});
  EXPECT_EQ(losses(), std::vector{Loss::overdue});
  EXPECT_EQ(said_, 1);
}

TEST_F(KeeperSessionTest, ALivingKeeperThatDropsItsDaemonIsLost) {
  begin_with_child();
  keeper_.reset();
  EXPECT_EQ(losses(), std::vector{Loss::exited});
  EXPECT_TRUE(session_.present()) << "still to be killed, and reaped";
  EXPECT_TRUE(session_.kill());
  EXPECT_EQ(losses(2), (std::vector{Loss::exited, Loss::exited}));
  EXPECT_FALSE(session_.present());
  child_ = -1;  // reaped by the session
}

// A child that the keeper left halfway may have a copy of its side.
TEST_F(KeeperSessionTest, ADeadKeepersConnectionIsNotWaitedFor) {
  begin_with_child();
  say(process::Started{.leader_pid = 4711, .init_pid = 0, .at = process::moment_now()});
  ASSERT_EQ(::kill(child_, SIGKILL), 0);
  EXPECT_EQ(losses(), std::vector{Loss::exited});
  EXPECT_EQ(said_, 1) << "what it said last is told first";
  EXPECT_FALSE(session_.present());
  child_ = -1;
}

TEST_F(KeeperSessionTest, AKeeperOfAnotherVersionIsLeftAloneUntilItExitsOrIsToEnd) {
  session_.begin(process::KeeperLink(std::move(ours_)));
  process::Welcome welcome;
  welcome.version = 99;
  say(welcome);
  say(process::Started{.leader_pid = 4711, .init_pid = 0, .at = process::moment_now()});
  say(welcome);
  io_.run_for(200ms);  // longer than it may leave a request unanswered
  ASSERT_EQ(foreign_.size(), 1U);
  EXPECT_NE(foreign_.front().find("version 99"), std::string::npos) << foreign_.front();
  EXPECT_EQ(said_, 0);
  EXPECT_TRUE(lost_.empty());
  session_.stop({.reason = {}, .grace = 10s}, 5s);
  EXPECT_EQ(losses(), std::vector{Loss::foreign});
  keeper_.reset();
  EXPECT_EQ(losses(2), (std::vector{Loss::foreign, Loss::exited}));
}

TEST_F(KeeperSessionTest, NothingIsToldAfterItIsClosed) {
  begin_with_child();
  session_.stop({.reason = {}, .grace = 20ms}, 20ms);
  keeper_.reset();
  session_.close();
  io_.run_for(200ms);
  EXPECT_TRUE(lost_.empty());
  EXPECT_EQ(said_, 0);
}

}  // namespace
}  // namespace ebb::daemon
