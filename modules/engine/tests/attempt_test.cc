#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver.h"

// The way of one attempt, from its submission to its report.
namespace ebb::engine {
namespace {

using model::JobState;
using model::StopKind;
using test::Driver;
using test::first;
using test::job;
using test::machine;
using test::second;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Attempt, IsOnDiskBeforeItStarts) {
  Driver d(machine(2));
  const Actions submitted = d.submit(job(1));
  ASSERT_NE(first<act::Acquire>(submitted.now), nullptr);
  EXPECT_THAT(first<act::Acquire>(submitted.now)->leases.gpus, ElementsAre(0));
  EXPECT_NE(first<record::JobAdded>(submitted.records), nullptr);
  EXPECT_EQ(d.state(1), JobState::queued);

  const Actions acquired = d.apply(Acquired{{JobId(1), 1}});
  ASSERT_NE(first<record::AttemptAdded>(acquired.records), nullptr);
  EXPECT_THAT(acquired.now, IsEmpty());
  ASSERT_NE(first<act::Start>(acquired.then), nullptr);
  EXPECT_EQ(first<act::Start>(acquired.then)->attempt, (AttemptId{JobId(1), 1}));
  EXPECT_EQ(d.state(1), JobState::starting);

  const Actions started = d.apply(Started{{JobId(1), 1}, 42, std::nullopt});
  ASSERT_NE(first<record::AttemptRunning>(started.records), nullptr);
  EXPECT_EQ(first<record::AttemptRunning>(started.records)->pid, 42);
  EXPECT_EQ(d.state(1), JobState::running);
}

TEST(Attempt, EndsInOneReportAndTheNextJobStartsInTheSameActions) {
  Driver d(machine(1));
  const Leases leases = d.run(job(1));
  d.submit(job(2));
  EXPECT_EQ(d.engine().position(JobId(2)), 1);

  const Actions ended = d.end(1);
  ASSERT_NE(first<act::Release>(ended.now), nullptr);
  EXPECT_EQ(first<record::AttemptEnded>(ended.records)->reason.kind, StopKind::completed);
  EXPECT_EQ(d.state(1), JobState::releasing);

  const Actions released = d.release(1, leases);
  ASSERT_NE(first<record::JobEnded>(released.records), nullptr);
  ASSERT_NE(first<act::Acquire>(released.now), nullptr);
  EXPECT_EQ(first<act::Acquire>(released.now)->attempt.job, JobId(2));
  EXPECT_NE(first<act::Finish>(released.then), nullptr);
  EXPECT_EQ(d.state(1), std::nullopt);
}

TEST(Attempt, WaitsUntilItIsReady) {
  Driver d(machine(1));
  JobInfo info = job(1);
  info.waits_for_ready = true;
  info.time = 5 * second;
  d.submit(info);
  d.apply(Acquired{{JobId(1), 1}});
  EXPECT_EQ(first<record::AttemptRunning>(d.apply(Started{{JobId(1), 1}, 42, std::nullopt}).records),
            nullptr);
  EXPECT_EQ(d.state(1), JobState::starting);
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt) << "--time counts from running";
  EXPECT_EQ(first<record::AttemptRunning>(d.apply(BecameReady{{JobId(1), 1}}).records)->pid, 42);
  EXPECT_EQ(d.state(1), JobState::running);
  EXPECT_EQ(d.engine().next_deadline(), d.now().boot + 5 * second);
}

TEST(Attempt, ThatDoesNotBecomeReadyEndsAsStartFailed) {
  Driver d(machine(1));
  JobInfo info = job(1);
  info.waits_for_ready = true;
  d.submit(info);
  d.apply(Acquired{{JobId(1), 1}});
  d.apply(Started{{JobId(1), 1}, 42, std::nullopt});
  const Actions failed = d.apply(ReadyFailed{{JobId(1), 1}, "port 38000 belongs to nginx"});
  ASSERT_NE(first<act::Stop>(failed.then), nullptr);
  const Actions ended = d.end(1, StopKind::failed);
  EXPECT_EQ(first<act::Release>(ended.now)->reason.kind, StopKind::start_failed);
  EXPECT_EQ(first<act::Release>(ended.now)->reason.detail, "port 38000 belongs to nginx");
}

TEST(Attempt, ThatCannotStartGivesEverythingBackAndDoesNotBlockTheQueue) {  // prior defect 5
  Driver d(machine(1));
  const Actions submitted = d.submit(job(1));
  const Leases leases = first<act::Acquire>(submitted.now)->leases;
  d.submit(job(2));
  d.apply(Acquired{{JobId(1), 1}});
  d.end(1, StopKind::start_failed);
  const Actions released = d.release(1, leases, StopKind::start_failed);
  EXPECT_EQ(first<act::Acquire>(released.now)->attempt.job, JobId(2));
}

// Its submitter was told that the disk is full; whoever comes next has the devices and the place in the
// queue.
TEST(NotRecorded, LeavesNoTraceOfAJobInAnyStateThatWasNotCarriedOut) {
  const auto trace_of = [](const auto& bring) {
    Driver d(machine(1));
    d.submit(job(1));
    bring(d);
    const Actions undone = d.apply(NotRecorded{JobId(1)});
    EXPECT_THAT(undone.records, IsEmpty());
    EXPECT_THAT(undone.then, IsEmpty());
    EXPECT_NE(first<act::Abandon>(undone.now), nullptr);
    EXPECT_EQ(d.state(1), std::nullopt);
    EXPECT_THAT(d.engine().active(), IsEmpty());
    EXPECT_TRUE(d.engine().idle());
    EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
    EXPECT_THAT(d.apply(Acquired{{JobId(1), 1}}).then, IsEmpty());  // late
    const Actions next = d.submit(job(2));
    ASSERT_NE(first<act::Acquire>(next.now), nullptr);
    EXPECT_THAT(first<act::Acquire>(next.now)->leases.gpus, ElementsAre(0));
  };
  trace_of([](Driver&) {});
  trace_of([](Driver& d) { d.apply(Acquired{{JobId(1), 1}}); });
  trace_of([](Driver& d) {
    d.apply(Acquired{{JobId(1), 1}});
    d.cancel(1);
  });
}

TEST(NotRecorded, TakesAQueuedJobFromTheMiddle) {
  Driver d(machine(1));
  d.run(job(1));
  for (std::uint32_t id = 2; id <= 4; ++id) d.submit(job(id));
  const Actions undone = d.apply(NotRecorded{JobId(3)});
  EXPECT_TRUE(undone.empty());
  EXPECT_EQ(d.state(3), std::nullopt);
  EXPECT_EQ(d.engine().position(JobId(4)), 2);
}

TEST(NotRecorded, IsNotBelievedOfAJobThatRuns) {
  Driver d(machine(1));
  d.run(job(1));
  EXPECT_TRUE(d.apply(NotRecorded{JobId(1)}).empty());
  EXPECT_EQ(d.state(1), JobState::running);
}

TEST(Time, IsCountedFromRunningAndEndsTheJob) {
  Driver d(machine(1));
  JobInfo info = job(1);
  info.time = 60 * second;
  d.run(info);
  EXPECT_TRUE(d.pass(59 * second).empty());
  const Actions due = d.pass(second);
  ASSERT_NE(first<act::Stop>(due.then), nullptr);
  EXPECT_EQ(first<act::Stop>(due.then)->reason.kind, StopKind::timeout);
  EXPECT_EQ(first<act::Stop>(due.then)->grace, 10 * second);
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
  EXPECT_EQ(first<act::Release>(d.end(1, StopKind::failed).now)->reason.kind, StopKind::timeout);
}

TEST(Stop, OfAQueuedJobEndsItWithAttempt0) {
  Driver d(machine(1));
  d.run(job(1));
  d.submit(job(2));
  const Actions actions = d.cancel(2);
  const auto* ended = first<record::JobEnded>(actions.records);
  ASSERT_NE(ended, nullptr);
  EXPECT_EQ(ended->report.attempt, 0);
  EXPECT_THAT(ended->report.releases, IsEmpty());
  EXPECT_TRUE(ended->report.complete);
  EXPECT_EQ(ended->report.reason.kind, StopKind::cancelled);
  EXPECT_EQ(d.state(2), std::nullopt);
  EXPECT_TRUE(d.cancel(2).empty()) << "twice has no effect";
}

TEST(Stop, OfAnAcquiringJobAbandonsAndIgnoresTheLateAnswer) {
  Driver d(machine(1));
  d.submit(job(1));
  d.submit(job(2));
  const Actions actions = d.cancel(1);
  ASSERT_EQ(actions.now.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<act::Abandon>(actions.now[0]));
  EXPECT_EQ(std::get<act::Acquire>(actions.now[1]).attempt.job, JobId(2));
  EXPECT_EQ(first<record::JobEnded>(actions.records)->report.attempt, 0);
  EXPECT_TRUE(d.apply(Acquired{{JobId(1), 1}}).empty());
}

TEST(Stop, OfAStartingJobWinsOverWhatFollows) {  // prior defect 2
  Driver d(machine(1));
  JobInfo info = job(1);
  info.waits_for_ready = true;
  d.submit(info);
  d.apply(Acquired{{JobId(1), 1}});
  const Actions actions = d.cancel(1);
  EXPECT_NE(first<record::StopAsked>(actions.records), nullptr);
  EXPECT_NE(first<act::Stop>(actions.then), nullptr);
  EXPECT_EQ(d.state(1), JobState::releasing);
  d.apply(Started{{JobId(1), 1}, 42, std::nullopt});
  EXPECT_TRUE(d.apply(BecameReady{{JobId(1), 1}}).empty());
  EXPECT_TRUE(d.apply(ReadyFailed{{JobId(1), 1}, "late"}).empty());
  EXPECT_EQ(d.state(1), JobState::releasing);
  EXPECT_EQ(first<act::Release>(d.end(1, StopKind::failed).now)->reason.kind, StopKind::cancelled);
  EXPECT_TRUE(d.end(1, StopKind::failed).empty());
}

TEST(Stop, CountsTheFirstReasonAndASecondCanOnlyShortenTheGrace) {
  Driver d(machine(1));
  d.run(job(1));
  EXPECT_EQ(first<act::Stop>(d.cancel(1).then)->grace, 10 * second);
  d.advance(second);
  EXPECT_TRUE(d.cancel(1).empty()) << "10 s from now is later";
  EXPECT_TRUE(d.cancel(1, 9 * second).empty()) << "as is the same moment";
  const Actions shorter = d.apply(StopRequested{JobId(1), {StopKind::preempted, "daemon", {}}, 3 * second});
  EXPECT_EQ(first<act::Stop>(shorter.then)->grace, 3 * second);
  EXPECT_EQ(first<act::Stop>(shorter.then)->reason.kind, StopKind::cancelled);
  EXPECT_THAT(shorter.records, IsEmpty());
  EXPECT_EQ(first<act::Release>(d.end(1, StopKind::failed).now)->reason.kind, StopKind::cancelled);
}

TEST(Stop, LosesAgainstALeaderThatWasGoneBefore) {
  Driver d(machine(1));
  d.run(job(1));
  const BootTime exited = d.now().boot;
  d.advance(second);
  d.cancel(1);
  Ended ended{{JobId(1), 1}, {}, {StopKind::completed, {}, {}}, exited};
  const Actions actions = d.apply(ended);
  EXPECT_EQ(first<act::Release>(actions.now)->reason.kind, StopKind::completed);
  EXPECT_EQ(first<record::AttemptEnded>(actions.records)->reason.kind, StopKind::completed);
  EXPECT_TRUE(first<act::Release>(actions.now)->stop_requested_at.has_value());
}

TEST(Stop, WinsOverALeaderThatExitsWith0AfterIt) {
  Driver d(machine(1));
  d.run(job(1));
  d.cancel(1);
  d.advance(second);
  Ended ended{{JobId(1), 1}, {}, {StopKind::completed, {}, {}}, d.now().boot};
  EXPECT_EQ(first<act::Release>(d.apply(ended).now)->reason.kind, StopKind::cancelled);
}

// A keeper that does not answer was lost before the stop was sent to it: that came first.
TEST(Stop, LosesAgainstAKeeperThatLeftItUnanswered) {
  Driver d(machine(1));
  d.run(job(1));
  d.cancel(1);
  d.advance(5 * second);
  Ended ended{{JobId(1), 1}, {}, {StopKind::keeper_lost, "daemon", {}}, std::nullopt};
  ended.unanswered = true;
  const Actions actions = d.apply(ended);
  EXPECT_EQ(first<act::Release>(actions.now)->reason.kind, StopKind::keeper_lost);
  EXPECT_EQ(first<record::AttemptEnded>(actions.records)->reason.kind, StopKind::keeper_lost);
  EXPECT_TRUE(first<act::Release>(actions.now)->stop_requested_at.has_value());
}

TEST(Stop, WinsOverAKeeperThatDiedWhileItWasStopping) {
  Driver d(machine(1));
  d.run(job(1));
  d.cancel(1);
  d.advance(second);
  const Ended ended{{JobId(1), 1}, {}, {StopKind::keeper_lost, "daemon", {}}, d.now().boot};
  EXPECT_EQ(first<act::Release>(d.apply(ended).now)->reason.kind, StopKind::cancelled);
}

TEST(Stop, OfAReleasingJobChangesNothing) {
  Driver d(machine(1));
  const Leases leases = d.run(job(1));
  d.end(1);
  EXPECT_TRUE(d.cancel(1).empty());
  EXPECT_EQ(first<record::JobEnded>(d.release(1, leases).records)->report.reason.kind, StopKind::completed);
}

TEST(Released, TwiceFreesNothingOfAnotherJob) {  // prior defect 1
  Driver d(machine(1));
  const Leases leases = d.run(job(1));
  d.submit(job(2));
  d.end_and_release(1, leases);
  d.apply(Acquired{{JobId(2), 1}});
  EXPECT_TRUE(d.release(1, leases).empty());
  EXPECT_TRUE(d.cancel(1).empty());
  EXPECT_TRUE(d.submit(job(3)).now.empty()) << "GPU 0 is job 2's";
  EXPECT_EQ(d.engine().devices().gpus[0].job, JobId(2));
}

}  // namespace
}  // namespace ebb::engine
