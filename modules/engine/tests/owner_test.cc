#include <gtest/gtest.h>

#include "driver.h"

// The owner rule: an attached job lives only as long as its owner.
namespace ebb::engine {
namespace {

using model::StopKind;
using test::Driver;
using test::first;
using test::job;
using test::machine;
using test::second;

JobInfo attached(std::uint32_t id) {
  JobInfo info = job(id);
  info.owner_lease = 15 * second;
  return info;
}

/// The kind of the stop that an event has led to; empty where it led to none.
std::optional<StopKind> stopped(const Actions& actions) {
  if (const auto* stop = first<act::Stop>(actions.then)) return stop->reason.kind;
  if (const auto* ended = first<record::JobEnded>(actions.records)) return ended->report.reason.kind;
  return std::nullopt;
}

TEST(Owner, ThatNeverConnectsLosesTheQueuedJob) {  // prior defect 9
  Driver d(machine(1));
  d.run(job(1));
  d.submit(attached(2));
  EXPECT_EQ(stopped(d.pass(14 * second)), std::nullopt);
  EXPECT_EQ(stopped(d.pass(second)), StopKind::owner_lost);
  EXPECT_EQ(d.state(2), std::nullopt);
}

TEST(Owner, ThatIsConnectedHoldsTheClock) {
  Driver d(machine(1));
  d.run(attached(1));
  d.apply(OwnerConnected{JobId(1)});
  EXPECT_TRUE(d.engine().find(JobId(1))->owner_connected);
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
}

TEST(Owner, ThatIsGoneLosesItsJobWhenTheLeaseHasRunOut) {  // prior defect 8
  Driver d(machine(1));
  d.run(attached(1));
  d.apply(OwnerConnected{JobId(1)});
  d.apply(OwnerDisconnected{JobId(1), std::nullopt});
  EXPECT_EQ(stopped(d.pass(14 * second)), std::nullopt);
  d.apply(OwnerConnected{JobId(1)});
  EXPECT_EQ(stopped(d.pass(60 * second)), std::nullopt) << "it came back in time";
  d.apply(OwnerDisconnected{JobId(1), std::nullopt});
  EXPECT_EQ(stopped(d.pass(15 * second)), StopKind::owner_lost);
}

TEST(Owner, LeaseRunsFromTheLastSignOfLife) {
  Driver d(machine(1));
  d.run(attached(1));
  d.apply(OwnerConnected{JobId(1)});
  const BootTime heard = d.now().boot;
  d.advance(10 * second);
  d.apply(OwnerDisconnected{JobId(1), heard});
  EXPECT_EQ(d.engine().next_deadline(), heard + 15 * second);
}

TEST(Owner, DisconnectedTwiceDoesNotGainTime) {
  Driver d(machine(1));
  d.run(attached(1));
  const auto deadline = d.engine().next_deadline();
  d.advance(5 * second);
  d.apply(OwnerDisconnected{JobId(1), std::nullopt});
  EXPECT_EQ(d.engine().next_deadline(), deadline) << "it was never connected";
}

TEST(Owner, ThatIsSuspendedHoldsTheClockUntilItResumes) {
  Driver d(machine(1));
  d.run(attached(1));
  d.apply(OwnerConnected{JobId(1)});
  d.apply(OwnerSuspended{JobId(1)});
  d.apply(OwnerDisconnected{JobId(1), std::nullopt});
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
  EXPECT_EQ(stopped(d.pass(3'600 * second)), std::nullopt);
  d.apply(OwnerResumed{JobId(1)});
  EXPECT_EQ(stopped(d.pass(15 * second)), StopKind::owner_lost);
}

TEST(Owner, ThatExitsEndsItsJobAtOnceAlsoWhileSuspended) {
  Driver d(machine(1));
  d.run(attached(1));
  d.apply(OwnerConnected{JobId(1)});
  d.apply(OwnerSuspended{JobId(1)});
  EXPECT_EQ(stopped(d.apply(OwnerExited{JobId(1)})), StopKind::owner_lost);
}

TEST(Owner, ThatGivesUpItsJobLetsItGoOn) {
  Driver d(machine(1));
  d.run(attached(1));
  const Actions dropped = d.apply(OwnerDropped{JobId(1)});
  EXPECT_NE(first<record::OwnerDropped>(dropped.records), nullptr);
  ASSERT_NE(first<act::Disown>(dropped.then), nullptr) << "its keeper would end it without a daemon";
  EXPECT_EQ(first<act::Disown>(dropped.then)->attempt, (AttemptId{JobId(1), 1}));
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
  EXPECT_TRUE(d.apply(OwnerExited{JobId(1)}).empty());
  EXPECT_TRUE(d.apply(OwnerDropped{JobId(1)}).empty());
}

TEST(Owner, OfADetachedJobMeansNothing) {
  Driver d(machine(1));
  d.run(job(1));
  for (const Event& event :
       {Event(OwnerConnected{JobId(1)}), Event(OwnerDisconnected{JobId(1), std::nullopt}),
        Event(OwnerSuspended{JobId(1)}), Event(OwnerResumed{JobId(1)}), Event(OwnerExited{JobId(1)}),
        Event(OwnerDropped{JobId(1)})}) {
    EXPECT_TRUE(d.apply(event).empty());
  }
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
}

TEST(Owner, HasNoClockWhileItsJobIsReleased) {
  Driver d(machine(1));
  d.run(attached(1));
  d.apply(OwnerConnected{JobId(1)});
  d.end(1);
  d.apply(OwnerDisconnected{JobId(1), std::nullopt});
  d.apply(OwnerSuspended{JobId(1)});
  d.apply(OwnerResumed{JobId(1)});
  EXPECT_EQ(d.engine().next_deadline(), std::nullopt);
}

}  // namespace
}  // namespace ebb::engine
