// What a job is given at its start, and what its user is told when it cannot start.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include <fstream>

#include "attempt.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

using testing::Attempt;
using testing::in_child;
using testing::Signpost;
using testing::Site;
using testing::TempDir;
using testing::unique_number;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr uid_t kNobody = 65534;

class KeeperStart : public ::testing::Test {
 protected:
  StartFailure failure(Attempt& attempt) {
    attempt.start();
    const EndRecord record = attempt.end();
    EXPECT_EQ(record.cause, EndCause::start_failure);
    EXPECT_TRUE(record.complete);
    EXPECT_FALSE(record.wait_status.has_value());
    EXPECT_FALSE(record.started.has_value());
    EXPECT_EQ(record.processes, 0U);
    EXPECT_EQ(attempt.finish(), 0);
    return record.start_failure.value_or(StartFailure{.exit_code = -1, .message = "no failure"});
  }
  std::string put(const std::string& name, const std::string& text, mode_t mode) {
    const std::string path = (site.dir / name).string();
    std::ofstream(path) << text;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }
  std::string run(Attempt& attempt) {
    attempt.start();
    const EndRecord record = attempt.end();
    EXPECT_EQ(record.wait_status.value_or(-1), 0)
        << (record.start_failure ? record.start_failure->message : "");
    EXPECT_EQ(attempt.finish(), 0);
    return attempt.output();
  }
  Site site;
};

TEST_F(KeeperStart, SaysThatACommandIsNotFound) {
  Attempt attempt(site, {"no-such-command-here"});
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 127);
  EXPECT_EQ(found.message, "command not found: no-such-command-here (PATH is /usr/bin:/bin)");
}

TEST_F(KeeperStart, SaysThatAPathIsNotFound) {
  Attempt attempt(site, {"./no/such"});
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 127);
  EXPECT_EQ(found.message, "command not found: ./no/such (in /)");
}

TEST_F(KeeperStart, SaysThatAFileIsNotExecutable) {
  Attempt attempt(site, {put("plain", "echo hello\n", 0644)});
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 126);
  EXPECT_THAT(found.message, HasSubstr("plain: Permission denied"));
}

TEST_F(KeeperStart, SaysThatACommandIsADirectory) {
  Attempt attempt(site, {"/usr/bin"});
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 126);
  EXPECT_EQ(found.message, "cannot execute /usr/bin: it is a directory");
}

TEST_F(KeeperStart, SaysThatAScriptHasNoInterpreterLine) {
  Attempt attempt(site, {put("script", "echo hello\n", 0755)});
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 126);
  EXPECT_THAT(found.message, HasSubstr("no #! line"));
}

TEST_F(KeeperStart, SaysThatTheInterpreterDoesNotExist) {
  Attempt attempt(site, {put("script", "#!/no/such/interpreter\n", 0755)});
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 126);
  EXPECT_THAT(found.message, HasSubstr("interpreter"));
}

TEST_F(KeeperStart, SaysThatTheWorkingDirectoryCannotBeEntered) {
  Attempt attempt(site, {"true"});
  attempt.spec.workdir = "/no/such/folder";
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 125);
  EXPECT_EQ(found.message, "cannot enter the working directory /no/such/folder: No such file or directory");
}

TEST_F(KeeperStart, TakesTheLongestArgumentAndRefusesALongerOne) {
  Attempt longest(site, {"true", std::string(131'071, 'x')}, "aaaaaaaa.1");
  EXPECT_EQ(run(longest), "");
  Attempt longer(site, {"true", std::string(131'072, 'x')}, "bbbbbbbb.1");
  const StartFailure found = failure(longer);
  EXPECT_EQ(found.exit_code, 126);
  EXPECT_THAT(found.message, HasSubstr("131071"));
}

TEST_F(KeeperStart, TakesTensOfThousandsOfVariables) {
  Attempt attempt(site, {"sh", "-c", "env | grep -c ^VARIABLE_"});
  for (int i = 0; i < 50'000; ++i) attempt.spec.env.push_back("VARIABLE_" + std::to_string(i) + "=x");
  EXPECT_EQ(run(attempt), "50000\n");
}

TEST_F(KeeperStart, SearchesTheJobsOwnPathPastFilesThatCannotBeExecuted) {
  ASSERT_EQ(::mkdir((site.dir / "first").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((site.dir / "second").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((site.dir / "first/tool").c_str(), 0755), 0);  // a folder of the name
  put("second/tool", "#!/bin/sh\necho second\n", 0755);
  Attempt attempt(site, {"tool"});
  attempt.spec.env = {"PATH=" + (site.dir / "first").string() +
                      ":/no/such:" + (site.dir / "second").string()};
  EXPECT_EQ(run(attempt), "second\n");
}

TEST_F(KeeperStart, GivesExactlyTheEnvironmentAndTheArguments) {
  Attempt attempt(
      site, {"sh", "-c", "env -u PWD -u SHLVL -u _ | sort; printf '<%s>' \"$@\"", "sh", "", "a b", "*\n"});
  attempt.spec.env = {"PATH=/usr/bin:/bin", "EMPTY=", "B=a b"};
  EXPECT_EQ(run(attempt), "B=a b\nEMPTY=\nPATH=/usr/bin:/bin\n<><a b><*\n>");
}

TEST_F(KeeperStart, SetsFolderMaskLimitsNiceAndSession) {
  if (!site.containment.pidns.available) GTEST_SKIP() << site.containment.pidns.why_not;
  Attempt attempt(
      site, {"sh", "-c",
             "pwd; umask; ulimit -S -n; nice; cat /proc/self/oom_score_adj; ps -o sid= -p $$ | tr -d ' '"});
  attempt.spec.workdir = "/usr";
  attempt.spec.umask = 027;
  attempt.spec.rlimits = {{.resource = RLIMIT_NOFILE, .soft = 123},
                          {.resource = RLIMIT_CORE, .soft = RLIM_INFINITY}};
  attempt.spec.nice = 5;
  attempt.use({.cgroup = false, .pidns = true, .subreaper = false});
  EXPECT_EQ(run(attempt), "/usr\n0027\n123\n5\n500\n2\n");  // 2: the leader's number in its namespace
}

TEST_F(KeeperStart, StartsWithDefaultSignalsWhateverTheDaemonIgnores) {
  in_child([&] {
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGCHLD, SIG_IGN);
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    Attempt attempt(site, {"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"});
    attempt.start();
    EXPECT_EQ(attempt.end().wait_status.value_or(-1), 0);
    ::signal(SIGCHLD, SIG_DFL);
    attempt.send(Ack{});
    EXPECT_EQ(attempt.output(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    attempt.wait_for_keeper();
  });
}

TEST_F(KeeperStart, RunsAsTheSubmitter) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Attempt attempt(site, {"sh", "-c", "id -u; id -g; id -G; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status"});
  attempt.spec.identity = Identity{.uid = kNobody, .gid = 65533, .groups = {65533, 4242}};
  EXPECT_EQ(run(attempt),
            "65534\n65533\n65533 4242\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
            "CapAmb:\t0000000000000000\n");
}

TEST_F(KeeperStart, EntersTheFolderAsTheSubmitter) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::mkdir((site.dir / "closed").c_str(), 0700), 0);
  Attempt attempt(site, {"true"});
  attempt.spec.identity = Identity{.uid = kNobody, .gid = kNobody, .groups = {}};
  attempt.spec.workdir = (site.dir / "closed").string();
  const StartFailure found = failure(attempt);
  EXPECT_EQ(found.exit_code, 125);
  EXPECT_THAT(found.message, HasSubstr("closed: Permission denied"));
}

TEST_F(KeeperStart, KeepsSharedMemoryProcessesAndCgroupsToItself) {
  if (!site.containment.pidns.available) GTEST_SKIP() << site.containment.pidns.why_not;
  const std::string name = "/dev/shm/ebb-" + unique_number();
  Attempt attempt(site, {"sh", "-c",
                         "echo $$; set -- /proc/[0-9]*; echo $#; echo x >" + name + " && cat " + name +
                             "; mkdir " + site.containment.cgroup_root +
                             "/x 2>/dev/null || echo read-only; ipcmk -M 4096 "
                             ">/dev/null && ipcs -m | grep -c ^0x"});
  EXPECT_EQ(run(attempt), "2\n2\nx\nread-only\n1\n");  // init and shell
  EXPECT_NE(::access(name.c_str(), F_OK), 0);
}

TEST_F(KeeperStart, SharesMemoryOfTheHostWhenAsked) {
  if (!site.containment.pidns.available) GTEST_SKIP() << site.containment.pidns.why_not;
  const std::string name = "/dev/shm/ebb-" + unique_number();
  Attempt attempt(site, {"sh", "-c", "echo shared >" + name});
  attempt.spec.share_ipc = true;
  EXPECT_EQ(run(attempt), "");
  EXPECT_EQ(::unlink(name.c_str()), 0);
}

TEST_F(KeeperStart, HidesFoldersButKeepsWhatMustBeReachable) {
  if (!site.containment.pidns.available) GTEST_SKIP() << site.containment.pidns.why_not;
  const auto state = site.dir / "state";
  std::filesystem::create_directories(state / "run");
  put("state/secret", "secret", 0644);
  put("state/plain", "plain", 0644);
  put("state/run/sock", "socket", 0644);
  std::filesystem::create_symlink("run/sock", state / "ebb.sock");
  const UniqueFd held(::open((state / "secret").c_str(), O_RDONLY | O_CLOEXEC));
  Attempt attempt(site, {"sh", "-c", "ls; cat ebb.sock plain; echo; touch x 2>&1 || echo read-only"});
  attempt.spec.workdir = state.string();
  attempt.spec.hide = {state.string(), "/no/such/folder"};
  attempt.spec.reachable = {(state / "ebb.sock").string(), (state / "run").string(),
                            (state / "plain").string(), (state / "gone").string()};
  EXPECT_EQ(run(attempt),
            "ebb.sock\nplain\nrun\nsocketplain\ntouch: cannot touch 'x': Read-only file system\nread-only\n");
  EXPECT_TRUE(std::filesystem::exists(state / "secret")) << "hidden on the host as well";
}

TEST_F(KeeperStart, MasksDevices) {
  if (!site.containment.pidns.available) GTEST_SKIP() << site.containment.pidns.why_not;
  Attempt attempt(site, {"sh", "-c", "cat /dev/full 2>&1; head -c 1 /dev/zero | wc -c"});
  attempt.spec.mask_devices = {"/dev/full", "/dev/no-such-device"};
  EXPECT_EQ(run(attempt), "cat: /dev/full: Permission denied\n1\n");
}

TEST_F(KeeperStart, ContainsTheJobsOfAnOrdinaryUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  site.give_to(kNobody);
  Signpost post(site.dir / "post");
  in_child([&] {
    ASSERT_EQ(::setgroups(0, nullptr), 0);
    ASSERT_EQ(::setgid(kNobody), 0);
    ASSERT_EQ(::setuid(kNobody), 0);
    auto probed = probe_containment({.state_dir = site.dir.path().string(), .may_move = false});
    ASSERT_TRUE(probed.ok());
    if (!probed->pidns.available) return;  // says why in KeeperContainment's own test
    EXPECT_TRUE(probed->user_namespace);
    EXPECT_FALSE(probed->cgroup.available);
    EXPECT_FALSE(probed->cgroup.why_not.empty());
    EXPECT_FALSE(probed->cgroup.what_to_do.empty());
    site.containment = *probed;
    const std::string number = unique_number();
    Attempt attempt(site, {"sh", "-c",
                           "id -u; grep CapEff /proc/self/status; echo $$; setsid sleep " + number +
                               " & trap '' TERM; echo ready >" + post.path() + "; sleep " + number});
    EXPECT_EQ(tier_text(attempt.spec.tiers), "pidns");
    attempt.start();
    EXPECT_EQ(post.line(), "ready");
    attempt.kill_keeper();
    EXPECT_EQ(attempt.wait_for_keeper(), SIGKILL);
    EXPECT_TRUE(testing::none_left_with(number));
    EXPECT_EQ(attempt.output(), "65534\nCapEff:\t0000000000000000\n2\n");
  });
}

TEST_F(KeeperStart, RefusesASpecThatNoKeeperCouldCarryOut) {
  Attempt attempt(site, {"true"});
  attempt.spec.tiers = {};
  EXPECT_EQ(start_keeper(attempt.spec, {.program = site.keeper}).error().code, Errc::invalid);
}

TEST_F(KeeperStart, SaysThatTheKeepersProgramIsNotThere) {
  Attempt attempt(site, {"true"});
  attempt.use({.cgroup = false, .pidns = false, .subreaper = true});
  std::filesystem::create_directories(attempt.spec.attempt_dir);
  const auto started = start_keeper(attempt.spec, {.program = "/no/such/ebb-keeper"});
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("/no/such/ebb-keeper: No such file"));
}

}  // namespace
}  // namespace ebb::process
