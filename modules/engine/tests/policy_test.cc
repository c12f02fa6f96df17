#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver.h"
#include "topology.h"

// Who starts next, and on what.
namespace ebb::engine {
namespace {

using model::DeviceState;
using test::all;
using test::Driver;
using test::first;
using test::job;
using test::machine;
using test::second;
using testing::ElementsAre;
using testing::IsEmpty;

/// Ids of the jobs for which something is acquired.
std::vector<std::uint32_t> acquired(const Actions& actions) {
  std::vector<std::uint32_t> ids;
  for (const auto& acquire : all<act::Acquire>(actions.now)) ids.push_back(acquire.attempt.job.value());
  return ids;
}

Leases leases_of(const Actions& actions) { return first<act::Acquire>(actions.now)->leases; }

TEST(Order, IsThatOfPriorityThenOfSubmission) {
  Driver d(machine(1));
  const Leases leases = d.run(job(1));
  d.submit(job(2));
  d.submit(job(3));
  d.submit(job(4, 1, 5));
  EXPECT_EQ(d.engine().position(JobId(4)), 1);
  EXPECT_EQ(d.engine().position(JobId(2)), 2);
  EXPECT_EQ(d.engine().position(JobId(3)), 3);
  EXPECT_THAT(acquired(d.end_and_release(1, leases)), ElementsAre(4));
}

TEST(Order, LetsSmallJobsPassForABoundedTimeOnly) {  // prior defect 7
  Driver d(machine(4));
  std::vector<Leases> held;
  for (std::uint32_t id = 1; id <= 4; ++id) held.push_back(d.run(job(id)));
  d.submit(job(10, 4));  // waits for all four
  std::uint32_t next = 20;
  // A stream of small jobs: each time one ends, another is there.
  d.submit(job(next++));
  d.advance(59 * second);
  d.end(1);
  EXPECT_THAT(acquired(d.release(1, held[0])), ElementsAre(20)) << "overtaken, as it may be for 60 s";
  d.submit(job(next++));
  d.advance(second);
  for (std::uint32_t id = 2; id <= 4; ++id) {
    d.end(id);
    EXPECT_THAT(acquired(d.release(id, held[id - 1])), IsEmpty()) << "now held for job 10";
    EXPECT_THAT(acquired(d.submit(job(next++))), IsEmpty());
  }
  d.apply(Acquired{{JobId(20), 1}});
  d.apply(Started{{JobId(20), 1}, 1, std::nullopt});
  d.end(20);
  EXPECT_THAT(acquired(d.release(20, held[0])), ElementsAre(10));
}

TEST(Order, HoldsOnlyWhatTheWaitingJobAsksFor) {
  Driver d(machine(4, 4, 1'000));
  JobInfo hog = job(1, 1);
  hog.demand.memory_bytes = 800;
  d.run(hog);
  JobInfo waiting = job(2, 1);
  waiting.demand.memory_bytes = 500;
  d.submit(waiting);
  d.advance(61 * second);
  EXPECT_THAT(acquired(d.submit(job(3, 2))), ElementsAre(3)) << "a GPU stays for job 2";
  EXPECT_THAT(acquired(d.submit(job(4, 1))), IsEmpty());
  JobInfo small = job(5, 0);
  small.demand.memory_bytes = 100;
  EXPECT_THAT(acquired(d.submit(small)), IsEmpty()) << "all free memory is held";
  EXPECT_THAT(acquired(d.submit(job(6, 0))), ElementsAre(6));
}

TEST(Order, HoldsNothingForAJobThatOnlyOutsidersKeepWaiting) {
  Driver d(machine(2));
  d.apply(DeviceChanged{false, 1, DeviceState::quarantined, "memory is not free", {}});
  d.submit(job(1, 2));
  d.advance(120 * second);
  EXPECT_THAT(acquired(d.submit(job(2, 1))), ElementsAre(2));
}

TEST(Order, LetsTheHolderGoWhenItIsCancelled) {
  Driver d(machine(2));
  d.run(job(1, 1));
  d.submit(job(2, 2));
  d.advance(61 * second);
  EXPECT_THAT(acquired(d.submit(job(3, 1))), IsEmpty());
  EXPECT_THAT(acquired(d.cancel(2)), ElementsAre(3));
}

TEST(Order, KeepsToTheNumberThatMayRunAtOnce) {
  Limits limits;
  limits.max_running = 2;
  Driver d(machine(4), limits);
  const Leases leases = d.run(job(1));
  d.run(job(2));
  EXPECT_THAT(acquired(d.submit(job(3))), IsEmpty());
  d.end(1);
  EXPECT_THAT(acquired(d.release(1, leases)), ElementsAre(3));
}

TEST(Ports, AreTakenLeastRecentlyUsedFirst) {
  Driver d(machine(0, 3));
  JobInfo info = job(1, 0);
  info.demand.ports = 1;
  Leases leases = d.run(info);
  EXPECT_THAT(leases.ports, ElementsAre(38000));
  d.end_and_release(1, leases);
  info = job(2, 0);
  info.demand.ports = 3;
  EXPECT_THAT(leases_of(d.submit(info)).ports, ElementsAre(38001, 38002, 38000));
}

TEST(Ports, ThatRefuseAreReplacedByOthersAndLeftAlone) {  // prior defect 15: a foreign listener
  Driver d(machine(0, 2));
  JobInfo info = job(1, 0);
  info.demand.ports = 1;
  EXPECT_THAT(leases_of(d.submit(info)).ports, ElementsAre(38000));
  const Actions again =
      d.apply(AcquireFailed{{JobId(1), 1}, {{true, 38000, DeviceState::outside, "nginx listens", {}}}});
  EXPECT_THAT(leases_of(again).ports, ElementsAre(38001));
  EXPECT_EQ(first<act::Watch>(again.now), nullptr) << "nobody needs the other one";
  d.apply(Acquired{{JobId(1), 1}});
  JobInfo other = job(2, 0);
  other.demand.ports = 1;
  const Actions waits = d.submit(other);
  ASSERT_NE(first<act::Watch>(waits.now), nullptr);
  EXPECT_EQ(first<act::Watch>(waits.now)->id, 38000);
  const Actions free = d.apply(DeviceChanged{true, 38000, DeviceState::free, "", {}});
  EXPECT_THAT(leases_of(free).ports, ElementsAre(38000));
  EXPECT_NE(first<act::Unwatch>(free.now), nullptr);
}

TEST(Gpus, UsedFromOutsideAreWatchedOnlyWhileAJobWaits) {  // prior defect 6
  Driver d(machine(2));
  d.submit(job(1, 2));
  const Actions refused = d.apply(
      AcquireFailed{{JobId(1), 1}, {{false, 1, DeviceState::outside, "in use", {{77, "root", 4'000}}}}});
  EXPECT_THAT(acquired(refused), IsEmpty());
  ASSERT_NE(first<act::Watch>(refused.now), nullptr);
  EXPECT_EQ(first<act::Watch>(refused.now)->id, 1);
  EXPECT_EQ(d.engine().devices().gpus[1].state, DeviceState::outside);
  EXPECT_EQ(d.engine().devices().gpus[1].outside->at(0).pid, 77);
  EXPECT_THAT(d.apply(DeviceChanged{false, 1, DeviceState::outside, "in use", {{77, "root", 4'100}}}).now,
              IsEmpty());
  const Actions cancelled = d.cancel(1);
  EXPECT_NE(first<act::Unwatch>(cancelled.now), nullptr);
}

TEST(Gpus, ThatAreQuarantinedStaySoAndTheQueueGoesOnWithTheRest) {
  Driver d(machine(2));
  const Leases leases = d.run(job(1, 2));
  d.submit(job(2, 2));
  d.submit(job(3, 1));
  d.end(1);
  model::Report report = d.report(1, leases, model::StopKind::completed);
  report.releases[1].outcome = model::Outcome::quarantined;
  report.releases[1].error = "process 4711 does not end";
  report.complete = false;
  const Actions released = d.apply(Released{{JobId(1), 1}, report});
  EXPECT_THAT(acquired(released), ElementsAre(3));
  ASSERT_NE(first<record::Quarantined>(released.records), nullptr);
  EXPECT_EQ(first<record::Quarantined>(released.records)->gpu, 1);
  EXPECT_EQ(first<record::Quarantined>(released.records)->why, "process 4711 does not end");
  EXPECT_EQ(first<record::Quarantined>(released.records)->attempt, (AttemptId{JobId(1), 1}));
  EXPECT_EQ(first<act::Watch>(released.now), nullptr) << "its end is an event, not something to ask for";

  EXPECT_THAT(d.apply(DeviceChanged{false, 1, DeviceState::unknown, "no answer", {}}).records, IsEmpty());
  EXPECT_EQ(d.engine().devices().gpus[1].state, DeviceState::quarantined);
  const Actions lifted = d.apply(DeviceChanged{false, 1, DeviceState::free, "", {}});
  EXPECT_NE(first<record::QuarantineLifted>(lifted.records), nullptr);
  d.end(3);
}

// Found by the simulator: the port of a process that went at last stayed in quarantine until a restart.
TEST(Ports, ThatAreQuarantinedAreLookedAtForAsLongAsSomebodyWaits) {
  Driver d(machine(1, 1));
  JobInfo info = job(1, 0);
  info.demand.ports = 1;
  const Leases leases = d.run(info);
  d.end(1);
  info.id = JobId(2);
  info.seq = 2;
  d.submit(info);
  model::Report report = d.report(1, leases, model::StopKind::completed);
  report.releases[0].outcome = model::Outcome::quarantined;
  report.releases[0].error = "process 4711 still listens";
  const Actions released = d.apply(Released{{JobId(1), 1}, report});
  EXPECT_THAT(acquired(released), IsEmpty());
  const auto* watch = first<act::Watch>(released.now);
  ASSERT_NE(watch, nullptr) << "no attempt waits for it, as one does for a GPU";
  EXPECT_TRUE(watch->is_port);
  const Actions freed = d.apply(DeviceChanged{true, watch->id, DeviceState::free, "", {}});
  EXPECT_THAT(acquired(freed), ElementsAre(2));
  EXPECT_NE(first<act::Unwatch>(freed.now), nullptr);
}

TEST(Gpus, WhoseReleaseNobodyVerifiedAreLookedAtFirst) {
  Driver d(machine(1));
  d.run(job(1));
  d.end(1);
  d.submit(job(2));
  const Actions released = d.apply(Released{{JobId(1), 1}, d.report(1, {}, model::StopKind::completed)});
  EXPECT_THAT(acquired(released), IsEmpty());
  EXPECT_NE(first<act::Watch>(released.now), nullptr);
  EXPECT_THAT(acquired(d.apply(DeviceChanged{false, 0, DeviceState::free, "", {}})), ElementsAre(2));
}

TEST(Gpus, WithAForeignProcessAfterTheEndBecomeOutsideNotQuarantined) {
  Driver d(machine(1));
  const Leases leases = d.run(job(1));
  d.end(1);
  model::Report report = d.report(1, leases, model::StopKind::completed);
  report.releases[0].outside = {{99, "bob", 500}};
  const Actions released = d.apply(Released{{JobId(1), 1}, report});
  EXPECT_EQ(first<record::Quarantined>(released.records), nullptr);
  EXPECT_EQ(d.engine().devices().gpus[0].state, DeviceState::outside);
}

TEST(Acquire, ThatFailsWithoutAReasonIsNotRepeatedForEver) {
  Driver d(machine(1, 0));
  d.submit(job(1));
  const Actions failed = d.apply(AcquireFailed{{JobId(1), 1}, {}});
  EXPECT_THAT(acquired(failed), IsEmpty());
  EXPECT_NE(first<act::Watch>(failed.now), nullptr);
  d.submit(job(2, 0));
  const Actions nothing_to_ask = d.apply(AcquireFailed{{JobId(2), 1}, {}});
  EXPECT_EQ(first<record::JobEnded>(nothing_to_ask.records)->report.reason.kind,
            model::StopKind::start_failed);
}

// ---- topology

/// Two islands of four, fully linked within; NUMA nodes as the islands.
Machine islands() {
  Machine machine;
  for (int i = 0; i < 8; ++i) {
    Machine::Gpu gpu{i, i / 4, std::vector<int>(8, 0)};
    for (std::size_t j = 0; j < 8; ++j)
      if (static_cast<int>(j) / 4 == i / 4 && static_cast<int>(j) != i) gpu.links[j] = 4;
    machine.gpus.push_back(gpu);
  }
  return machine;
}

TEST(Topology, PrefersNvlinkThenNumaThenWholeIslands) {
  const Machine nvlink = islands();
  EXPECT_THAT(choose_gpus(nvlink, {0, 1, 2, 3, 4, 5, 6, 7}, 4), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(choose_gpus(nvlink, {1, 2, 4, 5, 6, 7}, 4), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(choose_gpus(nvlink, {3, 4, 5, 6, 7}, 1), ElementsAre(3)) << "the other island stays whole";
  EXPECT_THAT(choose_gpus(nvlink, {2, 3, 4, 5, 6, 7}, 2), ElementsAre(2, 3));

  Machine numa = islands();
  for (auto& gpu : numa.gpus) gpu.links.clear();
  EXPECT_THAT(choose_gpus(numa, {3, 4, 5, 6}, 2), ElementsAre(4, 5));
  EXPECT_THAT(choose_gpus(numa, {3, 4, 5, 6}, 1), ElementsAre(3));
}

TEST(Topology, TakesTheLowestOfEquals) {
  EXPECT_THAT(choose_gpus(machine(4), {1, 2, 3}, 2), ElementsAre(1, 2));
  EXPECT_THAT(choose_gpus(machine(4), {1, 2}, 2), ElementsAre(1, 2));
  EXPECT_THAT(choose_gpus(machine(4), {}, 0), IsEmpty());
}

TEST(Topology, StaysQuickAndSensibleOnLargeMachines) {
  Machine large;
  for (int i = 0; i < 64; ++i) {
    Machine::Gpu gpu{i, i / 8, std::vector<int>(64, 0)};
    for (std::size_t j = 0; j < 64; ++j)
      if (static_cast<int>(j) / 8 == i / 8 && static_cast<int>(j) != i) gpu.links[j] = 1;
    large.gpus.push_back(gpu);
  }
  std::vector<int> free;
  for (int i = 3; i < 64; ++i) free.push_back(i);
  EXPECT_THAT(choose_gpus(large, free, 8), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
}

}  // namespace
}  // namespace ebb::engine
