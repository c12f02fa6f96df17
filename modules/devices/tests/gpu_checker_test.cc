#include "ebb/devices/gpu_checker.h"

#include "ebb/devices/devices.h"
#include "support.h"

namespace ebb::devices {
namespace {

using Kind = GpuVerdict::Kind;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::run_until;
using test::StubDriver;

class GpuCheckerTest : public testing::Test {
 protected:
  GpuCheckerTest() {
    gpu_.uuid = "GPU-00000000";
    make(seconds(2));
  }
  void make(Duration call_deadline) {
    GpuRules rules;
    rules.compare_pids = true;  // the stand-in tells pids of this namespace
    checker_ = std::make_unique<GpuChecker>(loop_, nvml_, table_, rules, call_deadline);
  }
  GpuVerdict check(CheckPurpose purpose = CheckPurpose::before_lease) {
    std::optional<GpuVerdict> verdict;
    checker_->check(gpu_, purpose, {}, [&](GpuVerdict got) { verdict = std::move(got); });
    EXPECT_FALSE(verdict);
    EXPECT_TRUE(run_until(loop_, [&] { return verdict.has_value(); }));
    return std::move(verdict).value();
  }
  // Starts waiting; `verdict_` has the outcome.
  void wait_free(Duration deadline, pid_t job = 0) {
    checker_->wait_free(
        gpu_, deadline,
        [this, job](pid_t pid) {
          ++looks_;
          return pid == job;
        },
        [this](GpuVerdict got) { verdict_ = std::move(got); });
  }

  boost::asio::io_context loop_;
  NvmlClient nvml_{loop_, EBB_TEST_NVML_HELPER};
  BaselineTable table_;
  std::unique_ptr<GpuChecker> checker_;
  Gpu gpu_;
  int looks_ = 0;
  std::optional<GpuVerdict> verdict_;
};

TEST_F(GpuCheckerTest, WaitsUntilTheJobsProcessIsGone) {
  StubDriver driver("gpu 0\n");
  ASSERT_EQ(check().kind, Kind::free);
  test::Sleeper job;
  driver.set("gpu 0\nprocess 0 " + std::to_string(job.pid()) + " 500\n");
  wait_free(seconds(10), job.pid());
  ASSERT_TRUE(run_until(loop_, [&] { return looks_ >= 5; }));
  EXPECT_FALSE(verdict_) << verdict_->text;
  job.end();
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::free);
  EXPECT_EQ(verdict_->text, "nvml: 0 processes of the job, 3 MiB used, baseline 3");
}

// Defect: "the process is gone" is not "the memory is free".
TEST_F(GpuCheckerTest, MemoryThatStaysAfterTheProcessIsNotFree) {
  StubDriver driver("gpu 0\n");
  ASSERT_EQ(check().kind, Kind::free);
  driver.set("gpu 0 used=700\n");
  wait_free(milliseconds(150));
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::by_job);
  EXPECT_EQ(state_of(*verdict_), model::DeviceState::quarantined);
  EXPECT_THAT(verdict_->text, testing::HasSubstr("697 MiB"));
  driver.set("gpu 0\n");
  EXPECT_EQ(check().kind, Kind::free) << "a quarantined GPU that came free is not seen";
}

TEST_F(GpuCheckerTest, ForeignProcessEndsTheWaitAsOutside) {
  test::Sleeper stranger;
  const StubDriver driver("gpu 0\nprocess 0 " + std::to_string(stranger.pid()) + " 880\n");
  wait_free(seconds(10), 1);
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::outside);
  ASSERT_EQ(verdict_->outside.size(), 1U);
  EXPECT_EQ(verdict_->outside[0].pid, stranger.pid());
  EXPECT_EQ(verdict_->outside[0].mib, 880);
}

TEST_F(GpuCheckerTest, HangingDriverIsUnknownAtTheCallsDeadline) {
  make(milliseconds(100));
  const StubDriver driver("gpu 0\nhang nvmlDeviceGetMemoryInfo_v2\n");
  wait_free(seconds(10));
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::unknown);
  EXPECT_EQ(verdict_->text, "nvml: the GPU driver has not answered for 100 ms");
}

TEST_F(GpuCheckerTest, DeadlineEndsAWaitDuringACall) {
  const StubDriver driver("gpu 0\nhang nvmlDeviceGetMemoryInfo_v2\n");
  wait_free(milliseconds(50));
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::unknown);
}

TEST_F(GpuCheckerTest, LostGpuIsUnknownWithTheDriversReason) {
  const StubDriver driver("gpu 0\nlost 0\n");
  wait_free(seconds(10));
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::unknown);
  EXPECT_THAT(verdict_->text, testing::HasSubstr("GPU is lost"));
}

TEST_F(GpuCheckerTest, HelperThatIsKilledMeanwhileDoesNotEndAWait) {
  StubDriver driver("gpu 0\n");
  ASSERT_EQ(check().kind, Kind::free);
  driver.set("gpu 0 used=700\n");
  wait_free(seconds(10));
  ASSERT_TRUE(run_until(loop_, [&] { return nvml_.helper_pid() != 0; }));
  ::kill(nvml_.helper_pid(), SIGKILL);
  driver.set("gpu 0\n");
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  EXPECT_EQ(verdict_->kind, Kind::free);
}

TEST_F(GpuCheckerTest, DeclaredGpuIsVerifiedByItsLockAndNobodyIsAsked) {
  gpu_.kind = GpuKind::declared;
  const auto verdict = check(CheckPurpose::at_release);
  EXPECT_EQ(verdict.kind, Kind::free);
  EXPECT_EQ(verdict.text, "declared: lock");
  EXPECT_EQ(nvml_.helper_pid(), 0);
}

TEST_F(GpuCheckerTest, DestroyedCheckerCallsNobody) {
  const StubDriver driver("gpu 0 used=9000\n");
  wait_free(seconds(1));
  ASSERT_TRUE(run_until(loop_, [&] { return nvml_.helper_pid() != 0; }));
  checker_.reset();
  bool looked = false;
  nvml_.usage(gpu_.uuid, seconds(5), [&](const Result<GpuUsage>&) { looked = true; });
  ASSERT_TRUE(run_until(loop_, [&] { return looked; }));
  EXPECT_FALSE(verdict_);
}

TEST_F(GpuCheckerTest, NothingWakesTheLoopOnceAWaitHasEnded) {
  const StubDriver driver("gpu 0\n");
  wait_free(seconds(10));
  ASSERT_TRUE(run_until(loop_, [&] { return verdict_.has_value(); }));
  // Returns only because nothing is left to wait for: no timer, no read. (Else the test's time limit ends
  // it.)
  loop_.restart();
  loop_.run();
  EXPECT_NE(nvml_.helper_pid(), 0);
}

}  // namespace
}  // namespace ebb::devices
