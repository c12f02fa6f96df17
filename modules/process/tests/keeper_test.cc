// Real keepers, in each combination of tiers that this machine gives.
#include "ebb/process/keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "attempt.h"
#include "ebb/base/files.h"
#include "ebb/process/orphans.h"

namespace ebb::process {
namespace {

using testing::Attempt;
using testing::none_left_with;
using testing::processes_with;
using testing::Signpost;
using testing::Site;
using testing::unique_number;
using namespace std::chrono_literals;

class KeeperInTier : public ::testing::TestWithParam<Tiers> {
 protected:
  void SetUp() override {
    if (GetParam().cgroup && !site.containment.cgroup.available)
      GTEST_SKIP() << site.containment.cgroup.why_not;
    if (GetParam().pidns && !site.containment.pidns.available) GTEST_SKIP() << site.containment.pidns.why_not;
  }
  void start(Attempt& attempt) {
    attempt.use(GetParam());
    attempt.start();
  }
  Duration time_of_stubborn_orphans(Duration grace);
  Site site;
  Signpost post{site.dir / "post"};

 private:
  int attempts_ = 0;
};

std::string tier_name(const ::testing::TestParamInfo<Tiers>& info) {
  std::string name = tier_text(info.param);
  for (char& c : name) c = c == '+' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Each, KeeperInTier,
                         ::testing::Values(Tiers{.cgroup = true, .pidns = true, .subreaper = false},
                                           Tiers{.cgroup = false, .pidns = true, .subreaper = false},
                                           Tiers{.cgroup = true, .pidns = false, .subreaper = true},
                                           Tiers{.cgroup = false, .pidns = false, .subreaper = true}),
                         tier_name);

TEST_P(KeeperInTier, ReportsTheExitCode) {
  Attempt attempt(site, {"sh", "-c", "echo out; echo err >&2; exit 7"});
  start(attempt);
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.cause, EndCause::leader_exit);
  ASSERT_TRUE(record.wait_status.has_value());
  EXPECT_EQ(*record.wait_status, 7 << 8);
  EXPECT_TRUE(record.complete);
  EXPECT_TRUE(record.started && record.leader_exited && record.ended);
  EXPECT_EQ(record.processes, 1U);
  EXPECT_EQ(record.tier, tier_text(GetParam()));
  EXPECT_EQ(record.action, "none needed");
  EXPECT_EQ(record.log_bytes, 8U);
  EXPECT_EQ(attempt.finish(), 0);
  const std::string text = attempt.output();
  EXPECT_NE(text.find("out\n"), std::string::npos);
  EXPECT_NE(text.find("err\n"), std::string::npos);
}

TEST_P(KeeperInTier, ReportsTheSignalThatTheLeaderDiedOf) {
  Attempt attempt(site, {"sh", "-c", "kill -USR1 $$"});
  start(attempt);
  const EndRecord record = attempt.end();
  ASSERT_TRUE(record.wait_status.has_value());
  EXPECT_TRUE(WIFSIGNALED(*record.wait_status));
  EXPECT_EQ(WTERMSIG(*record.wait_status), SIGUSR1);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, SendsTermToEveryProcessOfTheTree) {
  const std::string number = unique_number();
  // The shell waits for its child and would neither pass the signal on nor end before it.
  Attempt attempt(site, {"sh", "-c",
                         "trap 'echo shell >" + post.path() + "' TERM; sh -c 'trap \"echo child >" +
                             post.path() + "; exit\" TERM; sh -c \"echo ready >" + post.path() +
                             "; exec sleep " + number + "\" & wait'; exit 3"});
  start(attempt);
  ASSERT_EQ(post.line(), "ready");
  attempt.send(Stop{.reason = "by a test", .grace = 20s});
  const std::string first = post.line();
  const std::string second = post.line();
  EXPECT_TRUE((first == "shell" && second == "child") || (first == "child" && second == "shell"))
      << first << second;
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.cause, EndCause::stop);
  EXPECT_EQ(record.stop_reason, "by a test");
  EXPECT_EQ(*record.wait_status, 3 << 8);
  EXPECT_EQ(record.action, "TERM");
  EXPECT_GE(record.processes, 3U);
  EXPECT_TRUE(record.stop_requested.has_value());
  EXPECT_EQ(processes_with(number), 0);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, KillsWhatIgnoresTerm) {
  const std::string number = unique_number();
  Attempt attempt(site, {"sh", "-c", "trap '' TERM; echo ready >" + post.path() + "; sleep " + number});
  start(attempt);
  ASSERT_EQ(post.line(), "ready");
  attempt.send(Stop{.reason = {}, .grace = 50ms});
  const EndRecord record = attempt.end();
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(WTERMSIG(*record.wait_status), SIGKILL);
  EXPECT_TRUE(record.action.starts_with("TERM, then ")) << record.action;
  EXPECT_EQ(processes_with(number), 0);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, WakesAStoppedTreeSoThatItCanEnd) {
  Attempt attempt(
      site, {"sh", "-c", "trap 'exit 5' TERM; echo ready >" + post.path() + "; kill -STOP $$; sleep 1"});
  start(attempt);
  ASSERT_EQ(post.line(), "ready");
  attempt.send(Stop{.reason = {}, .grace = 20s});
  const EndRecord record = attempt.end();
  EXPECT_EQ(*record.wait_status, 5 << 8);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, KillEndsEvenWhatLeftTheSessionTwice) {
  const std::string number = unique_number();
  Attempt attempt(
      site, {"sh", "-c",
             "setsid sh -c 'setsid sleep " + number + " & sleep " + number + " & exit' & wait; echo ready >" +
                 post.path() + "; trap '' TERM; sleep " + number});
  start(attempt);
  ASSERT_EQ(post.line(), "ready");
  attempt.send(Kill{.reason = "now"});
  const EndRecord record = attempt.end();
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(record.cause, EndCause::stop);
  EXPECT_EQ(record.stop_reason, "now");
  EXPECT_GE(record.processes, 3U);
  EXPECT_EQ(processes_with(number), 0);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, EndsWhatTheLeaderLeavesBehind) {
  const std::string number = unique_number();
  Attempt attempt(site, {"sh", "-c", "setsid sleep " + number + " & exit 4"});
  start(attempt);
  const auto exited = attempt.wait<LeaderExited>();
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->wait_status, 4 << 8);
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.cause, EndCause::leader_exit);
  EXPECT_EQ(*record.wait_status, 4 << 8);
  EXPECT_EQ(record.processes, 2U);
  EXPECT_EQ(record.action, "TERM");
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(processes_with(number), 0);
  EXPECT_EQ(attempt.finish(), 0);
}

// How long a tree lives whose leader exits and leaves something behind that ignores TERM.
Duration KeeperInTier::time_of_stubborn_orphans(Duration grace) {
  const std::string number = unique_number();
  Signpost go(site.dir / number);
  Attempt attempt(site,
                  {"sh", "-c",
                   "sh -c 'trap \"\" TERM; echo ready >" + post.path() + "; sleep " + number + "; sleep " +
                       number + "' & read x <" + go.path()},
                  "7f3a91c2." + std::to_string(++attempts_));
  attempt.spec.grace = grace;
  start(attempt);
  EXPECT_EQ(post.line(), "ready");
  {
    const UniqueFd write_end(::open(go.path().c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::write(write_end.get(), "go\n", 3), 3);
  }
  const EndRecord record = attempt.end();
  EXPECT_TRUE(record.complete);
  EXPECT_TRUE(record.action.starts_with("TERM, then ")) << record.action;
  EXPECT_EQ(processes_with(number), 0);
  EXPECT_EQ(attempt.finish(), 0);
  if (!record.ended || !record.leader_exited) return {};  // it had not ended when end() gave up
  return record.ended->boot - record.leader_exited->boot;
}

TEST_P(KeeperInTier, KillsOrphansThatIgnoreTermAfterTwoSeconds) {
  // Nobody here waits as long as the grace period: it has ended before that, or not for this test.
  EXPECT_GE(time_of_stubborn_orphans(10min), 2s);
}

TEST_P(KeeperInTier, KillsThemAfterTheGracePeriodWhereThatIsShorter) {
  // One time under the two seconds shows it; a machine that stands still meanwhile may need another try.
  Duration least = Duration::max();
  for (int i = 0; i < 10 && least >= 2s; ++i) least = std::min(least, time_of_stubborn_orphans(100ms));
  EXPECT_GE(least, 100ms);
  EXPECT_LT(least, 2s);
}

TEST_P(KeeperInTier, EndsTheTreeAtTheTimeLimit) {
  Attempt attempt(site, {"sleep", "1000"});
  attempt.spec.time_limit = 50ms;
  start(attempt);
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.cause, EndCause::time_limit);
  EXPECT_EQ(WTERMSIG(*record.wait_status), SIGTERM);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, EndsTheTreeOnTermAndIgnoresIntAndHup) {
  Attempt attempt(
      site, {"sh", "-c", "trap 'exit 6' TERM; echo ready >" + post.path() + "; while :; do sleep 1; done"});
  start(attempt);
  ASSERT_EQ(post.line(), "ready");
  for (const int signal : {SIGINT, SIGHUP, SIGPIPE, SIGQUIT, SIGUSR1}) {
    ASSERT_EQ(::kill(attempt.keeper_pid(), signal), 0);
  }
  attempt.send(FetchLocks{});  // it still answers
  ASSERT_TRUE(attempt.wait<Locks>().has_value());
  ASSERT_EQ(::kill(attempt.keeper_pid(), SIGTERM), 0);
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.cause, EndCause::keeper_ended);
  EXPECT_EQ(*record.wait_status, 6 << 8);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, LeavesNothingWhenItIsKilled) {
  // As the daemon is, so that in the tiers without a PID namespace orphans come to this process.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  const std::string number = unique_number();
  Attempt attempt(site, {"sh", "-c",
                         "setsid sh -c 'setsid sleep " + number + " & sleep " + number + "' & echo ready >" +
                             post.path() + "; trap '' TERM; sleep " + number});
  attempt.spec.env.push_back("EBB_ATTEMPT=" + number);
  start(attempt);
  ASSERT_EQ(post.line(), "ready");
  const auto started = attempt.wait<Started>();
  ASSERT_TRUE(started.has_value());
  attempt.kill_keeper();
  EXPECT_EQ(attempt.wait_for_keeper(), SIGKILL);
  // Without a PID namespace the kernel ends the leader only; the rest is the daemon's.
  if (GetParam().cgroup && !GetParam().pidns) {
    ASSERT_TRUE(kill_cgroup(attempt.spec.cgroup).ok());
  } else if (!GetParam().pidns) {
    Orphans orphans({.environment = {"EBB_ATTEMPT=" + number}}, started->leader_pid);
    EXPECT_FALSE(orphans.find().empty());
    EXPECT_TRUE(orphans.end(BootClock::now() + 20s));
  }
  EXPECT_TRUE(none_left_with(number));
  if (GetParam().cgroup || GetParam().pidns) {
    // The kernel's work, some of which, such as the namespace's init, ends a moment later.
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

TEST_P(KeeperInTier, SleepsWhileItWaitsForTheAcknowledgement) {
  Attempt attempt(site, {"true"});
  start(attempt);
  EXPECT_TRUE(attempt.end().complete);
  const auto time_run = [&] {
    const auto text = read_file("/proc/" + std::to_string(attempt.keeper_pid()) + "/schedstat");
    return text ? std::stoull(*text) : 0;
  };
  // While other keepers do their work, of which each takes some milliseconds, this one does nothing.
  const auto wait_for_others = [&](int count) {
    for (int i = 0; i < count; ++i) {
      Attempt other(site, {"true"}, "bbbbbbbb." + std::to_string(count * 100 + i));
      start(other);
      EXPECT_TRUE(other.end().complete);
      EXPECT_EQ(other.finish(), 0);
    }
  };
  wait_for_others(1);
  const auto before = time_run();
  const BootTime begun = BootClock::now();
  wait_for_others(5);
  const Duration passed = BootClock::now() - begun;
  // What was left to do at its end may fall into that time, a loop that never sleeps would take much of it.
  EXPECT_LT(std::chrono::nanoseconds(time_run() - before), passed / 20);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, DrainsAFloodThatNobodyReads) {
  Attempt attempt(site, {"sh", "-c", "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 9"});
  start(attempt);
  const EndRecord record = attempt.end();
  EXPECT_EQ(*record.wait_status, 9 << 8);
  EXPECT_EQ(record.log_bytes, 40'000'000U);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, MakesNoLogForAJobThatSaysNothing) {
  Attempt attempt(site, {"true"});
  start(attempt);
  EXPECT_EQ(attempt.end().log_bytes, 0U);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_FALSE(std::filesystem::exists(attempt.spec.log_dir));
}

TEST_P(KeeperInTier, BeginsTheLogAsSoonAsTheDiskTakesOne) {
  Signpost go(site.dir / "go");
  Attempt attempt(
      site, {"sh", "-c", "echo early; echo said >" + post.path() + "; read x <" + go.path() + "; echo late"});
  attempt.use(GetParam());
  const std::filesystem::path above = site.dir / "above";
  std::ofstream(above) << "a file where the log's folder shall be";
  attempt.spec.log_dir = above / "log";
  attempt.start();
  ASSERT_EQ(post.line(), "said");
  // The keeper has read the first line, and lost it, before it answers.
  attempt.adopt();
  ASSERT_TRUE(attempt.wait<Welcome>().has_value());
  std::filesystem::remove(above);
  {
    const UniqueFd write_end(::open(go.path().c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(write_end.get(), "go\n", 3), 3);
  }
  const EndRecord record = attempt.end();
  EXPECT_EQ(record.log_bytes, 11U);
  EXPECT_EQ(record.log_dropped, 6U);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_EQ(attempt.output(), "late\n");
}

TEST_P(KeeperInTier, GivesTheJobThreeDescriptorsOnly) {
  const UniqueFd lock(
      ::open("/dev/null", O_RDONLY));  // without CLOEXEC: a daemon's slip must not reach the job
  Attempt attempt(site, {"ls", "-l", "/proc/self/fd"});
  attempt.use(GetParam());
  attempt.start({lock.get()});
  const EndRecord record = attempt.end();
  EXPECT_EQ(*record.wait_status, 0);
  const std::string text = attempt.output();
  EXPECT_NE(text.find(" 0 -> /dev/null"), std::string::npos) << text;
  EXPECT_NE(text.find(" 1 -> pipe:"), std::string::npos) << text;
  EXPECT_NE(text.find(" 2 -> pipe:"), std::string::npos) << text;
  EXPECT_NE(text.find(" 3 -> /proc/"), std::string::npos) << text;  // ls reading the folder
  EXPECT_EQ(text.find(" 4 -> "), std::string::npos) << text;
  EXPECT_EQ(attempt.finish(), 0);
}

TEST_P(KeeperInTier, ReadsWhatIsLeftInThePipesWhenAnOutsiderHoldsTheirOtherEnd) {
  // The job hands its standard output to this process, which keeps it open.
  Attempt attempt(
      site, {"sh", "-c", "echo kept; echo $$ >" + post.path() + "; read x <" + (site.dir / "go").string()});
  Signpost go(site.dir / "go");
  start(attempt);
  ASSERT_FALSE(post.line().empty());
  const auto started = attempt.wait<Started>();
  ASSERT_TRUE(started.has_value());
  const std::string their_output = "/proc/" + std::to_string(started->leader_pid) + "/fd/1";
  const UniqueFd held(::open(their_output.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(held);
  {
    const UniqueFd write_end(::open(go.path().c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(write_end.get(), "go\n", 3), 3);
  }
  const EndRecord record = attempt.end();
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_EQ(attempt.output(), "kept\n");
}

}  // namespace
}  // namespace ebb::process
