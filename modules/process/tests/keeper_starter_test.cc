// Keepers that are forked by a process which executed the program once.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempt.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

using testing::Attempt;
using testing::Idle;
using testing::Site;
using namespace std::chrono_literals;

class KeeperStarted : public ::testing::Test {
 protected:
  void SetUp() override { site.starter.emplace(site.keeper); }
  void expect_run(const std::string& label) {
    Attempt attempt(site, {"sh", "-c", "echo hello; exit 7"}, label);
    attempt.start();
    const EndRecord record = attempt.end();
    EXPECT_EQ(record.wait_status.value_or(-1), 7 << 8)
        << (record.start_failure ? record.start_failure->message : "");
    EXPECT_EQ(record.label, label);
    EXPECT_EQ(attempt.output(), "hello\n");
    EXPECT_EQ(attempt.finish(), 0);
  }
  Site site;
};

TEST_F(KeeperStarted, RunsOneAttemptAfterTheOther) {
  expect_run("aaaaaaaa.1");
  const pid_t nursery = site.starter->nursery_pid();
  EXPECT_GT(nursery, 0);
  expect_run("aaaaaaaa.2");
  EXPECT_EQ(site.starter->nursery_pid(), nursery);
}

TEST_F(KeeperStarted, IsAChildOfTheDaemonWithItsLabelInPs) {
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  const auto stat = read_proc_stat(attempt.keeper_pid());
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->ppid, ::getpid());
  EXPECT_EQ(stat->session, site.starter->nursery_pid()) << "in the daemon's session, and on its terminal";
  EXPECT_EQ(stat->comm, "ebb-keeper");
  const auto line = read_proc_file(attempt.keeper_pid(), "cmdline");
  ASSERT_TRUE(line.ok());
  EXPECT_THAT(*line, ::testing::StartsWith(std::string("ebb-keeper\0"
                                                       "7f3a91c2.1\0",
                                                       22)));
  if (attempt.spec.tiers.cgroup) {
    const auto pids = cgroup_processes(attempt.spec.cgroup + "/keeper");
    ASSERT_TRUE(pids.ok());
    EXPECT_THAT(*pids, ::testing::ElementsAre(attempt.keeper_pid()));
  }
  attempt.send(Kill{.reason = {}});
  EXPECT_TRUE(attempt.end().complete);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_F(KeeperStarted, LivesOnWhenTheNurseryIsKilledAndTheNextIsStartedAnew) {
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  const pid_t first = site.starter->nursery_pid();
  auto nursery = open_pidfd(first);
  ASSERT_TRUE(nursery.ok());
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PIDFD, static_cast<id_t>(nursery->get()), &info, WEXITED | WNOWAIT), 0);
  expect_run("bbbbbbbb.1");
  EXPECT_NE(site.starter->nursery_pid(), first);
  attempt.send(Kill{.reason = {}});
  EXPECT_TRUE(attempt.end().complete);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_F(KeeperStarted, HoldsLocksAndWatchesTheOwner) {
  const std::string path = (site.dir / "gpu-0").string();
  Idle owner;
  auto pidfd = open_pidfd(owner.pid());
  ASSERT_TRUE(pidfd.ok());
  Attempt attempt(site, {"sleep", "1000"});
  {
    const UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
    attempt.start({lock.get()}, pidfd->get());
  }
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  const UniqueFd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_NE(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  owner.end();
  attempt.hang_up();
  // Nobody acknowledges: that it ended for this reason is in the record, once its lock's holder is adopted.
  attempt.adopt();
  ASSERT_TRUE(attempt.wait<Welcome>().has_value());
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.cause, EndCause::owner_gone);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(KeeperStarted, EndsWithItsStarter) {
  expect_run("aaaaaaaa.1");
  auto nursery = open_pidfd(site.starter->nursery_pid());
  ASSERT_TRUE(nursery.ok());
  site.starter.reset();
  EXPECT_FALSE(pidfd_alive(nursery->get()));
}

// Stopped with a request that it has not read, it would hold the folder's lock for ever.
TEST_F(KeeperStarted, DiesWithTheProcessThatStartedItAlsoWhenItIsStopped) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  Idle daemon([&] {
    expect_run("aaaaaaaa.1");
    const pid_t pid = site.starter->nursery_pid();
    EXPECT_EQ(::write(pipe[1], &pid, sizeof pid), ssize_t{sizeof pid});
  });
  pid_t pid = 0;
  ASSERT_EQ(::read(pipe[0], &pid, sizeof pid), ssize_t{sizeof pid});
  ::close(pipe[0]);
  ::close(pipe[1]);
  auto nursery = open_pidfd(pid);
  ASSERT_TRUE(nursery.ok());
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  daemon.end();
  pollfd gone{.fd = nursery->get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&gone, 1, 20'000), 1);
}

TEST_F(KeeperStarted, ExplainsWhatItCannotStart) {
  Attempt attempt(site, {"true"});
  attempt.use({.cgroup = false, .pidns = false, .subreaper = true});
  site.starter.emplace("/no/such/ebb-keeper");
  std::filesystem::create_directories(attempt.spec.attempt_dir);
  const auto started = site.starter->start(attempt.spec, {});
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, ::testing::HasSubstr("/no/such/ebb-keeper: No such file"));
}

}  // namespace
}  // namespace ebb::process
