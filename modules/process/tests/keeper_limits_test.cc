// Limits that the kernel enforces for a job, and a process that nothing can kill.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "attempt.h"
#include "ebb/base/files.h"
#include "hanging_file_system.h"

namespace ebb::process {
namespace {

using testing::Attempt;
using testing::HangingFileSystem;
using testing::processes_with;
using testing::Signpost;
using testing::Site;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(KeeperLimits, TellsThatTheMemoryLimitKilled) {
  Site site;
  if (!site.containment.memory.available) GTEST_SKIP() << site.containment.memory.why_not;
  Attempt attempt(site, {"sh", "-c", "head -c 200000000 /dev/zero | tail >/dev/null; exit 3"});
  contain(attempt.spec, site.containment, 32 << 20, 0);
  attempt.start();
  const EndRecord record = attempt.end();
  EXPECT_TRUE(record.oom);
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(attempt.finish(), 0);
  if (attempt.spec.memory.mechanism == LimitMechanism::cgroup1) {
    EXPECT_NE(::access(attempt.spec.memory.cgroup1.c_str(), F_OK), 0) << "the v1 group was left behind";
  }
}

TEST(KeeperLimits, DoesNotTellSoOfAJobThatKeptToIt) {
  Site site;
  if (!site.containment.memory.available) GTEST_SKIP() << site.containment.memory.why_not;
  Attempt attempt(site, {"sh", "-c", "kill -KILL $$"});
  contain(attempt.spec, site.containment, 32 << 20, 0);
  attempt.start();
  const EndRecord record = attempt.end();
  EXPECT_FALSE(record.oom);
  EXPECT_EQ(*record.wait_status, SIGKILL);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperLimits, BoundsAForkBombAndEndsIt) {
  Site site;
  if (!site.containment.processes.available) GTEST_SKIP() << site.containment.processes.why_not;
  Signpost post(site.dir / "post");
  const std::string number = testing::unique_number();
  // Forks until it is refused, says how often it was not, and stays.
  Attempt attempt(site, {"perl", "-e",
                         "$SIG{TERM} = 'IGNORE'; my $n = 0;"
                         "while ($n < 2000) { my $p = fork; last unless defined $p;"
                         "  if ($p == 0) { sleep 1000; exit } $n++ }"
                         "open F, '>', $ARGV[0]; print F \"$n\\n\"; close F; sleep 1000",
                         post.path(), number});
  contain(attempt.spec, site.containment, 0, 310);
  attempt.start();
  const std::string forked = post.line();
  ASSERT_FALSE(forked.empty());
  EXPECT_LT(std::stoi(forked), 310);
  attempt.send(Stop{.reason = {}, .grace = 10ms});
  const EndRecord record = attempt.end();
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(record.processes, std::stoul(forked) + 1);
  EXPECT_EQ(processes_with(number), 0);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperLimits, NamesWhatOutlivesTheKillAndTellsWhenItGoes) {
  Site site;
  const std::string folder = (site.dir / "hang").string();
  ASSERT_TRUE(make_directories(folder, 0755).ok());
  HangingFileSystem hanging(folder);
  if (!hanging.mounted()) GTEST_SKIP() << "no FUSE here";
  Attempt attempt(site, {"cat", folder + "/file"});
  attempt.spec.kill_timeout = 100ms;
  attempt.start();
  hanging.take_request();
  attempt.send(Stop{.reason = "stuck", .grace = 10ms});
  const EndRecord first = attempt.end();
  EXPECT_FALSE(first.complete);
  EXPECT_FALSE(first.ended.has_value());
  ASSERT_EQ(first.survivors.size(), 1U);
  EXPECT_EQ(first.survivors.front().comm, "cat");
  attempt.send(Ack{});  // not yet: it still watches
  attempt.hang_up();
  attempt.adopt();
  const auto welcome = attempt.wait<Welcome>();
  ASSERT_TRUE(welcome.has_value());
  EXPECT_EQ(welcome->phase, KeeperPhase::ended);
  EXPECT_FALSE(attempt.end().complete);
  hanging.release();
  const EndRecord second = attempt.end();
  EXPECT_TRUE(second.complete);
  EXPECT_TRUE(second.survivors.empty());
  EXPECT_EQ(second.stop_reason, "stuck");
  EXPECT_TRUE(second.ended.has_value());
  EXPECT_EQ(attempt.finish(), 0);
}

}  // namespace
}  // namespace ebb::process
