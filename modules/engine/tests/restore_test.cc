#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver.h"

// Recovery: what a new daemon makes of its journal and of what the census finds.
namespace ebb::engine {
namespace {

using model::DeviceState;
using model::JobState;
using model::StopKind;
using test::first;
using test::job;
using test::machine;
using test::second;
using testing::ElementsAre;
using testing::IsEmpty;

const Instant start{BootTime(std::chrono::seconds(50)), WallTime(std::chrono::seconds(1'800'000'000))};

Restored running(JobInfo info, JobState state = JobState::running) {
  Restored restored{std::move(info), 0, Restored::Attempt{}};
  restored.attempt->state = state;
  restored.attempt->leases.gpus = {0};
  restored.attempt->started_at = start.wall - 20 * second;
  return restored;
}

TEST(Restore, StartsNothingBeforeItIsDone) {
  Engine engine(machine(2), {});
  EXPECT_TRUE(engine.apply(Restored{job(1), 0, std::nullopt}, start).empty());
  EXPECT_TRUE(engine.apply(Restored{job(2), 0, std::nullopt}, start).empty());
  const Actions done = engine.apply(RestoreDone{}, start);
  EXPECT_EQ(done.now.size(), 2U);
  EXPECT_THAT(done.records, IsEmpty()) << "all that is on disk already";
}

TEST(Restore, HoldsTheLeasesOfLivingAttempts) {
  Engine engine(machine(1), {});
  (void)engine.apply(running(job(1)), start);
  (void)engine.apply(Restored{job(2), 0, std::nullopt}, start);
  EXPECT_THAT(engine.apply(RestoreDone{}, start).now, IsEmpty());
  EXPECT_EQ(engine.devices().gpus[0].job, JobId(1));
  const Actions adopted = engine.apply(Started{{JobId(1), 1}, 77, std::nullopt}, start);
  EXPECT_THAT(adopted.records, IsEmpty());
  EXPECT_EQ(engine.find(JobId(1))->pid, 77);
  EXPECT_EQ(engine.find(JobId(1))->started_at, start.wall - 20 * second);
}

TEST(Restore, PutsAnAttemptThatNeverStartedBackInItsPlace) {
  Engine engine(machine(1), {});
  (void)engine.apply(running(job(1), JobState::starting), start);
  (void)engine.apply(Restored{job(2), 0, std::nullopt}, start);
  (void)engine.apply(RestoreDone{}, start);
  const Actions never = engine.apply(NeverStarted{{JobId(1), 1}}, start);
  EXPECT_NE(first<record::AttemptDropped>(never.records), nullptr);
  ASSERT_NE(first<act::Acquire>(never.now), nullptr);
  EXPECT_EQ(first<act::Acquire>(never.now)->attempt, (AttemptId{JobId(1), 1})) << "before job 2";
}

TEST(Restore, EndsAnAttemptThatNeverStartedIfAStopWasOnItsWay) {
  Engine engine(machine(1), {});
  Restored restored = running(job(1), JobState::starting);
  restored.attempt->stop_reason = {StopKind::cancelled, "owner", "SIGINT"};
  (void)engine.apply(restored, start);
  (void)engine.apply(RestoreDone{}, start);
  const Actions never = engine.apply(NeverStarted{{JobId(1), 1}}, start);
  EXPECT_NE(first<record::AttemptDropped>(never.records), nullptr);
  EXPECT_EQ(first<record::JobEnded>(never.records)->report.reason.detail, "SIGINT");
  EXPECT_EQ(first<act::Acquire>(never.now), nullptr);
}

TEST(Restore, RepeatsAStopOnceTheAttemptIsFound) {
  Engine engine(machine(1), {});
  Restored restored = running(job(1));
  restored.attempt->stop_reason = {StopKind::cancelled, "owner", "SIGINT"};
  restored.attempt->stop_asked_at = start.wall - 5 * second;
  (void)engine.apply(restored, start);
  EXPECT_THAT(engine.apply(RestoreDone{}, start).then, IsEmpty());
  const Actions found = engine.apply(Started{{JobId(1), 1}, 77, std::nullopt}, start);
  ASSERT_NE(first<act::Stop>(found.then), nullptr);
  EXPECT_EQ(first<act::Stop>(found.then)->reason.detail, "SIGINT");
  Ended ended{{JobId(1), 1}, {std::nullopt, 15}, {StopKind::failed, {}, {}}, start.boot};
  const Actions actions = engine.apply(ended, start);
  EXPECT_EQ(first<act::Release>(actions.now)->reason.kind, StopKind::cancelled);
  EXPECT_EQ(first<act::Release>(actions.now)->stop_requested_at, start.wall - 5 * second);
}

TEST(Restore, ACancelBeforeTheCensusSpeaksIsCarriedOutAfterIt) {
  Engine engine(machine(1), {});
  (void)engine.apply(running(job(1)), start);
  (void)engine.apply(RestoreDone{}, start);
  const Actions asked =
      engine.apply(StopRequested{JobId(1), {StopKind::cancelled, {}, {}}, std::nullopt}, start);
  EXPECT_NE(first<record::StopAsked>(asked.records), nullptr);
  EXPECT_THAT(asked.then, IsEmpty());
  EXPECT_NE(first<act::Stop>(engine.apply(Started{{JobId(1), 1}, 77, std::nullopt}, start).then), nullptr);
}

// Found by the simulator (seed 168718): it was released twice.
TEST(Restore, ReleasesOnceWhatEndsBeforeAllIsRestored) {
  Engine engine(machine(1), {});
  (void)engine.apply(running(job(1)), start);
  const Actions ended =
      engine.apply(Ended{{JobId(1), 1}, {0, std::nullopt}, {StopKind::completed, {}, {}}, start.boot}, start);
  EXPECT_NE(first<act::Release>(ended.now), nullptr);
  EXPECT_EQ(first<act::Release>(engine.apply(RestoreDone{}, start).now), nullptr);
}

TEST(Restore, ReleasesAgainWhatWasBeingReleased) {
  Engine engine(machine(1), {});
  Restored restored = running(job(1), JobState::releasing);
  restored.attempt->stop_reason = {StopKind::timeout, "daemon", "its --time has passed"};
  restored.attempt->stop_asked_at = start.wall - 5 * second;
  restored.attempt->exit.signal = 15;
  (void)engine.apply(restored, start);
  const Actions done = engine.apply(RestoreDone{}, start);
  const auto* release = first<act::Release>(done.now);
  ASSERT_NE(release, nullptr);
  EXPECT_EQ(release->reason.kind, StopKind::timeout);
  EXPECT_EQ(release->exit.signal, 15);
  EXPECT_EQ(release->stop_requested_at, start.wall - 5 * second);
  EXPECT_THAT(release->leases.gpus, ElementsAre(0));
  EXPECT_TRUE(engine.apply(Ended{{JobId(1), 1}, {}, {}, std::nullopt}, start).empty());
}

TEST(Restore, GivesAttachedJobsOneFullLease) {
  Engine engine(machine(1), {});
  Restored restored = running(job(1));
  restored.job.owner_lease = 15 * second;
  (void)engine.apply(restored, start);
  (void)engine.apply(RestoreDone{}, start);
  EXPECT_EQ(engine.next_deadline(), start.boot + 15 * second);
}

TEST(Restore, CountsTheTimeThatHasPassedAndAClockSetBackAddsNone) {
  const auto deadline = [](std::optional<BootTime> since, WallTime started_at) {
    Engine engine(machine(1), {});
    Restored restored = running(job(1));
    restored.job.time = 60 * second;
    restored.attempt->started_at = started_at;
    (void)engine.apply(restored, start);
    (void)engine.apply(RestoreDone{}, start);
    EXPECT_EQ(engine.next_deadline(), std::nullopt) << "its keeper knows better than the wall clock";
    (void)engine.apply(Started{{JobId(1), 1}, 77, since}, start);
    (void)engine.apply(Started{{JobId(1), 1}, 77, start.boot}, start);  // told twice: nothing new
    return *engine.next_deadline();
  };
  EXPECT_EQ(deadline(start.boot - 10 * second, start.wall - 1'000 * second), start.boot + 50 * second);
  EXPECT_EQ(deadline(std::nullopt, start.wall - 20 * second), start.boot + 40 * second);
  EXPECT_EQ(deadline(std::nullopt, start.wall + 3'600 * second), start.boot + 60 * second);
  EXPECT_EQ(deadline(std::nullopt, start.wall - 3'600 * second), start.boot);
}

TEST(Restore, CountsFromWhenTheKeeperHadStartedAnAttemptThatTheJournalHasAsStarting) {
  Engine engine(machine(1), {});
  Restored restored = running(job(1), JobState::starting);
  restored.job.time = 60 * second;
  restored.attempt->started_at.reset();
  (void)engine.apply(restored, start);
  (void)engine.apply(RestoreDone{}, start);
  (void)engine.apply(Started{{JobId(1), 1}, 77, start.boot - 20 * second}, start);
  EXPECT_EQ(engine.next_deadline(), start.boot + 40 * second);
}

TEST(Restore, KeepsQuarantinedGpusOutWithoutWritingThemAgain) {
  Engine engine(machine(1), {});
  (void)engine.apply(Restored{job(1), 0, std::nullopt}, start);
  EXPECT_TRUE(engine.apply(DeviceChanged{false, 0, DeviceState::quarantined, "stuck", {}}, start).empty());
  EXPECT_THAT(engine.apply(RestoreDone{}, start).now, IsEmpty());
  EXPECT_NE(first<act::Acquire>(engine.apply(DeviceChanged{false, 0, DeviceState::free, "", {}}, start).now),
            nullptr);
}

TEST(Restore, KeepsJobsThatTheMachineHasBecomeTooSmallFor) {
  Engine engine(machine(1), {});
  Restored restored = running(job(1));
  restored.attempt->leases.gpus = {0, 3};
  (void)engine.apply(restored, start);
  (void)engine.apply(Restored{job(2, 4), 0, std::nullopt}, start);
  (void)engine.apply(Restored{job(3, 1), 0, std::nullopt}, start);
  (void)engine.apply(RestoreDone{}, start);
  EXPECT_THAT(engine.why(JobId(2))->blockers[0].text, testing::HasSubstr("this server now has only 1"));
  const Instant later{start.boot + 120 * second, start.wall};
  (void)engine.apply(Ended{{JobId(1), 1}, {}, {}, std::nullopt}, later);
  const Actions released = engine.apply(Released{{JobId(1), 1}, {}}, later);
  EXPECT_EQ(first<act::Watch>(released.now)->id, 0) << "nothing is held for job 2";
}

TEST(Drain, LetsNothingStartUntilResumed) {
  test::Driver d(machine(2));
  d.submit(job(1));  // its locks are being taken
  d.apply(Drain{true});
  const Actions late = d.apply(Acquired{{JobId(1), 1}});
  EXPECT_NE(first<act::Abandon>(late.now), nullptr);
  EXPECT_THAT(late.records, IsEmpty());
  EXPECT_EQ(d.state(1), JobState::queued);
  EXPECT_EQ(d.engine().check(job(2)).error().type, "draining");
  EXPECT_NE(first<act::Acquire>(d.apply(Drain{false}).now), nullptr);
  EXPECT_TRUE(d.engine().check(job(2)).ok());
}

TEST(Shutdown, StopsAllAttemptsAndLeavesTheQueue) {
  test::Driver d(machine(2));
  const Leases leases = d.run(job(1));
  d.submit(job(2));
  d.submit(job(3));
  const Actions ending = d.apply(Shutdown{true, false});
  ASSERT_NE(first<act::Stop>(ending.then), nullptr);
  EXPECT_EQ(first<act::Stop>(ending.then)->reason.kind, StopKind::daemon_stopped);
  EXPECT_EQ(first<act::Stop>(ending.then)->grace, 10 * second);
  EXPECT_NE(first<act::Abandon>(ending.now), nullptr) << "job 2 had nothing on disk";
  EXPECT_TRUE(d.apply(Acquired{{JobId(2), 1}}).empty());
  EXPECT_FALSE(d.engine().idle());

  const Actions now = d.apply(Shutdown{true, true});
  EXPECT_EQ(first<act::Stop>(now.then)->grace, Duration::zero());
  d.end(1, StopKind::failed);
  const Actions released = d.release(1, leases);
  EXPECT_EQ(first<act::Acquire>(released.now), nullptr);
  EXPECT_TRUE(d.engine().idle());
  EXPECT_EQ(d.engine().queued_count(), 2);
  EXPECT_EQ(d.engine().check(job(4)).error().code, Errc::unavailable);
}

TEST(Shutdown, ThatKeepsJobsHasNothingToWaitFor) {
  test::Driver d(machine(2));
  d.run(job(1));
  d.submit(job(2));
  const Actions keeping = d.apply(Shutdown{false, false});
  EXPECT_THAT(keeping.then, IsEmpty());
  EXPECT_TRUE(d.engine().idle());
  EXPECT_NE(first<act::Stop>(d.apply(Shutdown{true, false}).then), nullptr) << "a change of mind";
  EXPECT_FALSE(d.engine().idle());
}

}  // namespace
}  // namespace ebb::engine
