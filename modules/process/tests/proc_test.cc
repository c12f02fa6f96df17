#include "ebb/process/proc.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ebb/base/clock.h"
#include "ebb/base/files.h"
#include "world.h"

namespace ebb::process {
namespace {

using ::testing::ElementsAre;
using testing::Idle;
using testing::in_pid_namespace;

TEST(ProcStat, ReadsANameWithSpacesAndParentheses) {
  for (const std::string name : {"a (b) c", ") R 1 (", "(", ")", "x\ny", "1 2 3"}) {
    const Idle child([&] { ::prctl(PR_SET_NAME, name.c_str()); });
    const auto stat = read_proc_stat(child.pid());
    ASSERT_TRUE(stat.ok()) << name;
    EXPECT_EQ(stat->comm, name);
    EXPECT_EQ(stat->pid, child.pid());
    EXPECT_EQ(stat->ppid, ::getpid());
    EXPECT_EQ(stat->session, ::getsid(0));
    EXPECT_GT(stat->start_time, 0u);
    EXPECT_FALSE(stat->gone());
  }
}

TEST(ProcStat, ReadsNiceSessionAndThreads) {
  const Idle child([] {
    ::setsid();
    EXPECT_EQ(::setpriority(PRIO_PROCESS, 0, 7), 0);
  });
  const auto stat = read_proc_stat(child.pid());
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->nice, 7);
  EXPECT_EQ(stat->session, child.pid());
  EXPECT_EQ(stat->process_group, child.pid());
  const std::filesystem::directory_iterator threads("/proc/" + std::to_string(child.pid()) + "/task");
  EXPECT_EQ(stat->threads, std::distance(begin(threads), end(threads)))
      << "a sanitizer may have one of its own";
}

TEST(ProcStat, AZombieIsGoneButHasANumber) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(3);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  const auto stat = read_proc_stat(pid);
  ASSERT_TRUE(stat.ok());
  EXPECT_TRUE(stat->gone());
  const auto pidfd = open_pidfd(pid);
  ASSERT_TRUE(pidfd.ok());
  EXPECT_TRUE(pidfd_alive(pidfd->get()));
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_FALSE(pidfd_alive(pidfd->get()));
  EXPECT_EQ(read_proc_stat(pid).error().code, Errc::not_found);
  EXPECT_EQ(open_pidfd(pid).error().code, Errc::not_found);
}

TEST(ProcStat, GarbageIsRefused) {
  for (const char* text : {"", "1", "1 (", "1 ()", "x (a) R 1 1 1", "1 (a) R",
                           "1 (a) RR 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", ") 1 ("}) {
    EXPECT_FALSE(parse_proc_stat(text).ok()) << text;
  }
}

TEST(ProcStatus, TellsUmaskAndIds) {
  const Idle child([] { ::umask(027); });
  const auto status = read_proc_status(child.pid());
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(status->umask, mode_t{027});
  EXPECT_EQ(status->uid, ::getuid());
  EXPECT_EQ(status->effective_uid, ::geteuid());
  EXPECT_EQ(status->gid, ::getgid());
  EXPECT_EQ(status->namespace_pids.front(), child.pid());
  EXPECT_FALSE(parse_proc_status("").ok());
  EXPECT_FALSE(parse_proc_status("Uid: 1 2 3\nGid: 1 2 3 4\n").ok());
  EXPECT_FALSE(parse_proc_status("Uid: 1 2 3 4\nGid: 1 2 3 4\nUmask: 9\n").ok());
}

TEST(ProcLimits, AreTheProcesssOwn) {
  const Idle child([] {
    const rlimit files{77, 99}, core{0, RLIM_INFINITY};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
    ::setrlimit(RLIMIT_CORE, &core);
  });
  const auto limits = parse_proc_limits(*read_proc_file(child.pid(), "limits"));
  ASSERT_TRUE(limits.ok());
  EXPECT_EQ(limits->size(), std::size_t{RLIM_NLIMITS}) << "every resource of this kernel is known";
  for (const ProcLimit& limit : *limits) {
    if (limit.resource == RLIMIT_NOFILE) {
      EXPECT_EQ(limit.soft, 77u);
      EXPECT_EQ(limit.hard, 99u);
    }
    if (limit.resource == RLIMIT_CORE) {
      EXPECT_EQ(limit.soft, 0u);
    }
  }
  EXPECT_FALSE(parse_proc_limits("Max open files  x y files\n").ok());
  EXPECT_FALSE(parse_proc_limits("").ok());
}

TEST(ProcWords, EndInNul) {
  using namespace std::string_view_literals;
  EXPECT_THAT(parse_nul_words("A=1\0B=\0\0C"sv), ElementsAre("A=1", "B=", "", "C"));
  EXPECT_THAT(parse_nul_words("A=1\0"sv), ElementsAre("A=1"));
  EXPECT_THAT(parse_nul_words(""), ElementsAre());
  const auto words = parse_nul_words("EBB_JOB=no\0EBB_JOB_ID=7f3a91c2\0EMPTY=\0EBB_JOB_ID=second"sv);
  EXPECT_EQ(environment_value(words, "EBB_JOB_ID"), "7f3a91c2");
  EXPECT_EQ(environment_value(words, "EMPTY"), "");
  EXPECT_FALSE(environment_value(words, "EBB"));
}

TEST(ProcCgroup, IsTheUnifiedOneInAHybridHierarchyToo) {
  EXPECT_EQ(parse_proc_cgroup("12:pids:/a\n1:name=systemd:/b\n0::/c/d:e\n"), "/c/d:e");
  EXPECT_EQ(parse_proc_cgroup("0::/\n"), "/");
  EXPECT_FALSE(parse_proc_cgroup("12:pids:/a\n"));
  EXPECT_TRUE(read_proc_cgroup(::getpid()).ok());
}

TEST(ProcFile, IsLimitedAndNamesWhatFailed) {
  EXPECT_EQ(read_proc_file(::getpid(), "environ", 1).error().code, Errc::too_large);
  const auto missing = read_proc_file(::getpid(), "nothing");
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_NE(missing.error().message.find(std::to_string(::getpid())), std::string::npos);
  EXPECT_TRUE(read_proc_link(::getpid(), "cwd").ok());
  EXPECT_THAT(*list_pids(), ::testing::Contains(::getpid()));
}

TEST(ProcessIdentity, RoundTripsAsText) {
  const auto self = ProcessIdentity::of(::getpid());
  ASSERT_TRUE(self.ok()) << self.error().message;
  EXPECT_EQ(*ProcessIdentity::parse(self->str()), *self);
  const ProcessIdentity odd{.boot_id = "b", .pid = 7, .start_time = 9, .cgroup = "/a:b c"};
  EXPECT_EQ(*ProcessIdentity::parse(odd.str()), odd);
  for (const char* text : {"", "b", "b:7", "b:7:9", "b:x:9:", "b:0:9:", "b:-7:9:", "b:7:9:rel", "b:7::"}) {
    EXPECT_FALSE(ProcessIdentity::parse(text).ok()) << text;
  }
}

TEST(ProcessIdentity, OpensTheSameProcess) {
  Idle child;
  const auto identity = ProcessIdentity::of(child.pid());
  ASSERT_TRUE(identity.ok());
  auto pidfd = identity->open_if_same();
  ASSERT_TRUE(pidfd.ok()) << pidfd.error().message;
  pollfd ended{pidfd->get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 0);
  child.end();
  EXPECT_EQ(::poll(&ended, 1, 0), 1);
  EXPECT_EQ(identity->open_if_same().error().code, Errc::not_found);
}

TEST(ProcessIdentity, RefusesAnotherBootStartOrCgroup) {
  const auto self = ProcessIdentity::of(::getpid());
  ProcessIdentity other = *self;
  other.boot_id = "00000000-0000-0000-0000-000000000000";
  EXPECT_EQ(other.open_if_same().error().code, Errc::not_found);
  other = *self;
  ++other.start_time;
  EXPECT_EQ(other.open_if_same().error().code, Errc::not_found);
  other = *self;
  other.cgroup = "/somewhere/else";
  EXPECT_EQ(other.open_if_same().error().code, Errc::not_found);
  other.cgroup.clear();
  EXPECT_TRUE(other.open_if_same().ok());
  other.boot_id.clear();
  EXPECT_FALSE(other.open_if_same().ok()) << "without a boot id nothing is proved";
}

TEST(ProcessIdentity, RefusesAStrangerWithARecycledNumber) {
  in_pid_namespace([] {
    Idle first;
    const pid_t pid = first.pid();
    const auto identity = ProcessIdentity::of(pid);
    ASSERT_TRUE(identity.ok()) << identity.error().message;
    EXPECT_TRUE(identity->open_if_same().ok());
    first.end();
    // Start times count in ticks of 10 ms: the stranger must be of a later one, as any real one is, since a
    // number comes back only after all the others. The clock that the kernel stamps with is waited for.
    const auto ticks = [] { return BootClock::now().time_since_epoch() / std::chrono::milliseconds(10); };
    const auto last = static_cast<std::int64_t>(identity->start_time);
    while (ticks() <= last + 1) ::sched_yield();
    auto file = open_file("/proc/sys/kernel/ns_last_pid", O_WRONLY);
    ASSERT_TRUE(file.ok()) << file.error().message;
    ASSERT_TRUE(write_all(file->get(), std::to_string(pid - 1)).ok());
    const Idle stranger;
    ASSERT_EQ(stranger.pid(), pid) << "the kernel gave another number";
    const auto refused = identity->open_if_same();
    ASSERT_FALSE(refused.ok()) << "a stranger would have been killed";
    EXPECT_EQ(refused.error().code, Errc::not_found);
    EXPECT_NE(refused.error().message.find("another process"), std::string::npos) << refused.error().message;
  });
}

}  // namespace
}  // namespace ebb::process
