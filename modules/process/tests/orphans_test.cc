#include "ebb/process/orphans.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "world.h"

namespace ebb::process {
namespace {

using namespace std::chrono_literals;

// A process of the machine with this mark, which forks all the time, so that some kill hits it in the middle.
// Up to a number: thousands would make every look at the processes of the machine slow, that of the tests
// beside this one too.
pid_t start_marked(const std::string& mark) {
  const pid_t child = ::fork();
  if (child == 0) {
    const char* const words[] = {"sh", "-c", "for i in $(seq 300); do (exec sleep 60) & done; exec sleep 60",
                                 nullptr};
    const char* const environment[] = {mark.c_str(), "PATH=/usr/bin:/bin", nullptr};
    ::execve("/bin/sh", const_cast<char* const*>(words), const_cast<char* const*>(environment));
    ::_exit(99);
  }
  return child;
}

TEST(Orphans, AreGoneOnlyWhenALookAfterTheLastDeathFindsNone) {
  testing::in_child(
      [] {
        ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        for (int round = 0; round < 3; ++round) {
          const std::string mark =
              "EBB_TEST_ORPHAN=" + std::to_string(::getpid()) + "." + std::to_string(round);
          const pid_t first = start_marked(mark);
          Orphans orphans({.environment = {mark}}, first);
          const BootTime deadline = BootClock::now() + 20s;
          while (orphans.find().size() < 3 && BootClock::now() < deadline) {
          }
          EXPECT_FALSE(orphans.sweep())
              << "it found some, and cannot know what they forked when they were killed";
          EXPECT_TRUE(orphans.end(deadline));
          EXPECT_TRUE(orphans.find().empty());
          while (::waitpid(-1, nullptr, 0) > 0) {  // those that found their way here
          }
        }
      });
}

// It came to this process between two looks, or died of another's kill: nobody else would reap it.
TEST(Orphans, ThatEndedByThemselvesAreReapedByTheirLimit) {
  const Marks marks = attempt_marks({.job = JobId(static_cast<std::uint32_t>(::getpid())), .number = 1});
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{.rlim_cur = marks.limit, .rlim_max = RLIM_INFINITY};
    ::setrlimit(RLIMIT_LOCKS, &limit);
    ::_exit(0);
  }
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(Orphans(marks).sweep());
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), -1) << "it stays a zombie";
}

}  // namespace
}  // namespace ebb::process
