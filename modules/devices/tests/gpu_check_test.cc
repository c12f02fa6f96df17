#include "ebb/devices/gpu_check.h"

#include "support.h"

namespace ebb::devices {
namespace {

using Kind = GpuVerdict::Kind;

GpuUsage usage(std::int64_t used, std::vector<GpuProcess> processes = {}) {
  GpuUsage seen;
  seen.uuid = "GPU-1";
  seen.driver = "570";
  seen.used_mib = used;
  seen.total_mib = 80'000;
  seen.processes = std::move(processes);
  return seen;
}

// What the tests know of the processes that they invent.
class GpuJudge : public testing::Test {
 protected:
  GpuVerdict at_release(const GpuUsage& seen) { return look(seen, CheckPurpose::at_release); }
  GpuVerdict before_lease(const GpuUsage& seen) { return look(seen, CheckPurpose::before_lease); }
  GpuVerdict look(const GpuUsage& seen, CheckPurpose purpose) {
    return judge(
        seen, purpose, rules_, table_, [this](pid_t pid) { return pid == job_; },
        [this](pid_t pid) {
          ProcessFacts facts;
          if (pid == ended_) facts.life = ProcessFacts::Life::ended;
          facts.user = "alice";
          facts.name = pid == xorg_ ? "Xorg" : "python3";
          return facts;
        });
  }

  pid_t job_ = 100;
  pid_t other_ = 200;
  pid_t ended_ = 300;
  pid_t xorg_ = 400;
  GpuRules rules_;
  BaselineTable table_;
};

TEST_F(GpuJudge, EmptyGpuIsFreeInTheContractsWords) {
  const auto verdict = at_release(usage(3));
  EXPECT_EQ(verdict.kind, Kind::free);
  EXPECT_EQ(verdict.text, "nvml: 0 processes of the job, 3 MiB used, baseline 3");
  EXPECT_TRUE(verdict.baseline_changed);
}

TEST_F(GpuJudge, MemoryWithinTheToleranceIsFree) {
  ASSERT_EQ(at_release(usage(3)).kind, Kind::free);
  EXPECT_EQ(at_release(usage(67)).kind, Kind::free);
  EXPECT_EQ(at_release(usage(68)).kind, Kind::by_job);
  rules_.free_memory_mib = 0;
  EXPECT_EQ(at_release(usage(4)).kind, Kind::by_job);
}

TEST_F(GpuJudge, ProcessOfTheJobKeepsItBusy) {
  ASSERT_EQ(at_release(usage(3)).kind, Kind::free);
  const auto verdict = at_release(usage(503, {{.pid = job_, .mib = 500}}));
  EXPECT_EQ(verdict.kind, Kind::by_job);
  EXPECT_EQ(verdict.pids, std::vector<pid_t>{job_});
  EXPECT_EQ(verdict.text, "nvml: 1 process of the job (pid 100, 500 MiB), 503 MiB used, baseline 3");
}

TEST_F(GpuJudge, MemoryWithoutAProcessIsTheJobsAtReleaseAndOutsideBefore) {
  ASSERT_EQ(at_release(usage(3)).kind, Kind::free);
  const auto left = at_release(usage(503));
  EXPECT_EQ(left.kind, Kind::by_job);
  EXPECT_TRUE(left.pids.empty());
  EXPECT_THAT(left.text, testing::HasSubstr("500 MiB are held by no visible process"));
  EXPECT_EQ(before_lease(usage(503)).kind, Kind::outside);
}

TEST_F(GpuJudge, ForeignProcessIsOutsideAndNamed) {
  ASSERT_EQ(at_release(usage(3)).kind, Kind::free);
  const auto verdict = at_release(usage(883, {{.pid = other_, .mib = 880}}));
  EXPECT_EQ(verdict.kind, Kind::outside);
  EXPECT_EQ(verdict.outside, (std::vector<model::OutsideUse>{{.pid = 200, .user = "alice", .mib = 880}}));
  EXPECT_THAT(verdict.text, testing::HasSubstr("0 processes of the job"));
  EXPECT_EQ(before_lease(usage(883, {{.pid = other_, .mib = 880}})).kind, Kind::outside);
}

TEST_F(GpuJudge, ForeignProcessDoesNotHideTheJobs) {
  const auto verdict = at_release(usage(1383, {{.pid = job_, .mib = 500}, {.pid = other_, .mib = 880}}));
  EXPECT_EQ(verdict.kind, Kind::by_job);
  EXPECT_EQ(verdict.pids, std::vector<pid_t>{job_});
}

// A process of the job that has just been killed is in no cgroup any more; taken for a stranger, its GPU
// would be released while its memory is still there.
TEST_F(GpuJudge, EndedProcessThatIsStillListedIsNotAStranger) {
  ASSERT_EQ(at_release(usage(3)).kind, Kind::free);
  const auto verdict = at_release(usage(503, {{.pid = ended_, .mib = 500}}));
  EXPECT_EQ(verdict.kind, Kind::by_job);
  EXPECT_THAT(verdict.text, testing::HasSubstr("still listed"));
}

TEST_F(GpuJudge, IgnoredProcessDoesNotCountNorItsMemory) {
  rules_.ignore = {"Xorg"};
  const auto verdict = before_lease(usage(203, {{.pid = xorg_, .mib = 200}}));
  EXPECT_EQ(verdict.kind, Kind::free) << verdict.text;
  EXPECT_EQ(verdict.baseline_mib, 3);
  EXPECT_EQ(before_lease(usage(403, {{.pid = xorg_, .mib = 400}})).kind, Kind::free);
  EXPECT_EQ(before_lease(usage(603, {{.pid = xorg_, .mib = 200}})).kind, Kind::outside);
  rules_.ignore = {"400"};
  EXPECT_EQ(before_lease(usage(203, {{.pid = xorg_, .mib = 200}})).kind, Kind::free);
}

TEST_F(GpuJudge, BaselineIsOnlyTakenWithNoProcessOnTheGpu) {
  EXPECT_EQ(before_lease(usage(100, {{.pid = other_, .mib = 97}})).kind, Kind::outside);
  EXPECT_FALSE(table_.find("GPU-1", "570"));
  const auto verdict = before_lease(usage(5));
  EXPECT_EQ(verdict.kind, Kind::free);
  EXPECT_EQ(table_.find("GPU-1", "570"), 5);
}

TEST_F(GpuJudge, MemoryThatNoIdleGpuHasIsNoBaseline) {
  const auto verdict = before_lease(usage(40'000));
  EXPECT_EQ(verdict.kind, Kind::outside);
  EXPECT_FALSE(table_.find("GPU-1", "570"));
  EXPECT_THAT(verdict.text, testing::HasSubstr("no baseline yet"));
}

TEST_F(GpuJudge, OldDriversOwnShareIsBelieved) {
  GpuUsage seen = usage(600);
  seen.includes_reserved = true;
  EXPECT_EQ(before_lease(seen).kind, Kind::free);
}

TEST_F(GpuJudge, BaselineFallsAndNeverRises) {
  ASSERT_EQ(before_lease(usage(50)).kind, Kind::free);
  EXPECT_EQ(before_lease(usage(3)).baseline_mib, 3);
  EXPECT_EQ(before_lease(usage(60)).baseline_mib, 3);
}

TEST_F(GpuJudge, AnotherDriverVersionHasItsOwnBaseline) {
  ASSERT_EQ(before_lease(usage(3)).kind, Kind::free);
  GpuUsage seen = usage(200);
  seen.driver = "580";
  const auto verdict = before_lease(seen);
  EXPECT_EQ(verdict.kind, Kind::free);
  EXPECT_EQ(verdict.baseline_mib, 200);
}

TEST_F(GpuJudge, OutsideTheInitialNamespaceMemoryAloneDecidesAndItSaysSo) {
  rules_.compare_pids = false;
  const auto verdict = at_release(usage(3, {{.pid = job_, .mib = 0}}));
  EXPECT_EQ(verdict.kind, Kind::free);
  EXPECT_EQ(verdict.text,
            "nvml: 3 MiB used, baseline 3; pids not compared: not in the initial PID namespace");
  const auto busy = at_release(usage(503, {{.pid = other_, .mib = 500}}));
  EXPECT_EQ(busy.kind, Kind::by_job);
  EXPECT_TRUE(busy.outside.empty());
}

TEST(GpuVerdict, SaysUnknownAndDeclaredInWords) {
  const auto verdict = unknown({.code = Errc::timeout, .message = "it hangs", .pointer = {}, .type = {}});
  EXPECT_EQ(verdict.kind, Kind::unknown);
  EXPECT_EQ(verdict.text, "nvml: it hangs");
  EXPECT_EQ(declared_free().kind, Kind::free);
  EXPECT_EQ(declared_free().text, "declared: lock");
}

TEST(ProcessFacts, TellLivingFromEndedAndZombie) {
  test::Sleeper child;
  const auto alive = process_facts(child.pid());
  EXPECT_EQ(alive.life, ProcessFacts::Life::alive);
  EXPECT_THAT(alive.name, testing::StartsWith("devices_test"));
  EXPECT_FALSE(alive.user.empty());
  const pid_t pid = child.pid();
  child.kill();
  EXPECT_EQ(process_facts(pid).life, ProcessFacts::Life::ended) << "a zombie holds nothing";
  child.end();
  EXPECT_EQ(process_facts(pid).life, ProcessFacts::Life::ended);
  EXPECT_EQ(process_facts(0).life, ProcessFacts::Life::ended);
}

TEST(BaselineTable, ReadsBackAsWritten) {
  BaselineTable table;
  EXPECT_TRUE(table.observe("GPU-1", "570", 3));
  EXPECT_TRUE(table.observe("GPU-2", "570", 0));
  EXPECT_FALSE(table.observe("GPU-3", "5\t70", 0));
  const auto read = BaselineTable::parse(table.write());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->write(), table.write());
  EXPECT_EQ(read->find("GPU-1", "570"), 3);
}

TEST(BaselineTable, RefusesWhatItDidNotWrite) {
  for (const char* text :
       {"", "ebb-baselines 2\n", "ebb-baselines 1\nGPU-1\t570\n", "ebb-baselines 1\nGPU-1\t570\tx\n",
        "ebb-baselines 1\nGPU-1\t570\t-3\n", "ebb-baselines 1\nGPU-1\t570\t3"}) {
    const auto table = BaselineTable::parse(text);
    ASSERT_FALSE(table) << text;
    EXPECT_EQ(table.error().code, Errc::corrupt);
  }
}

TEST(Matches, KnowsStarsAndQuestionMarks) {
  EXPECT_TRUE(matches("Xorg", "Xorg"));
  EXPECT_FALSE(matches("Xorg", "Xorg2"));
  EXPECT_TRUE(matches("gnome-*", "gnome-shell"));
  EXPECT_TRUE(matches("*sh?ll", "gnome-shell"));
  EXPECT_FALSE(matches("*sh?l", "gnome-shell"));
  EXPECT_TRUE(matches("*", ""));
  EXPECT_FALSE(matches("", "x"));
}

}  // namespace
}  // namespace ebb::devices
