#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver.h"

// What the engine answers: to a submission that cannot be, and to one who asks why a job waits.
namespace ebb::engine {
namespace {

using model::BlockerKind;
using model::DeviceState;
using test::Driver;
using test::job;
using test::machine;
using test::second;
using testing::HasSubstr;

TEST(Check, RefusesWhatCanNeverRunAndNamesBothNumbers) {  // prior defect 4
  Driver d(machine(4, 100, std::int64_t{64} << 30));
  const auto refused = [&](auto change) {
    JobInfo info = job(1, 0);
    change(info.demand);
    const auto result = d.engine().check(info);
    EXPECT_FALSE(result.ok());
    if (result.ok()) return Error{};
    EXPECT_EQ(result.error().code, Errc::impossible);
    EXPECT_EQ(result.error().type, "impossible-request");
    return result.error();
  };
  Error error = refused([](Demand& demand) { demand.gpus = 5; });
  EXPECT_EQ(error.message, "--gpus 5: this server has 4; it would wait for ever, so it was not queued");
  EXPECT_EQ(error.pointer, "/gpus");
  EXPECT_EQ(refused([](Demand& demand) { demand.gpus = -1; }).pointer, "/gpus");
  error = refused([](Demand& demand) { demand.ports = 101; });
  EXPECT_EQ(
      error.message,
      "--ports 101: this server's range has 100 (38000-38099); it would wait for ever, so it was not queued");
  EXPECT_EQ(error.pointer, "/ports");
  error = refused([](Demand& demand) { demand.memory_bytes = std::int64_t{65} << 30; });
  EXPECT_EQ(error.message,
            "--memory 65 GiB: this server has 64 GiB; it would wait for ever, so it was not queued");
  EXPECT_EQ(error.pointer, "/memory_bytes");
  error = refused([](Demand& demand) { demand.gpu_ids = {2, 7}; });
  EXPECT_THAT(error.message, HasSubstr("--gpu-ids 2,7: this server has no GPU 7 (it has 0 1 2 3)"));
  EXPECT_EQ(error.pointer, "/gpu_ids/1");
  error = refused([](Demand& demand) { demand.gpu_ids = {2, 2}; });
  EXPECT_THAT(error.message, HasSubstr("GPU 2 is named twice"));
  error = refused([](Demand& demand) {
    demand.gpus = 3;
    demand.gpu_ids = {0, 1};
  });
  EXPECT_THAT(error.message, HasSubstr("--gpus 3 with --gpu-ids 0,1: that names 2 GPUs"));
}

TEST(Check, RefusesAFullQueueAndAUserPastTheQuota) {
  Limits limits;
  limits.max_queued = 2;
  limits.max_per_user = 2;
  Driver d(machine(1), limits);
  d.run(job(1));
  d.submit(job(2));
  Error error = d.engine().check(job(3)).error();
  EXPECT_EQ(error.code, Errc::exhausted);
  EXPECT_EQ(error.type, "over-quota");
  EXPECT_THAT(error.message, HasSubstr("alice has 2 jobs queued or running, and the limit is 2"));
  JobInfo bobs = job(4);
  bobs.user = "bob";
  EXPECT_TRUE(d.engine().check(bobs).ok());
  d.submit(bobs);
  bobs.id = JobId(5);
  error = d.engine().check(bobs).error();
  EXPECT_EQ(error.type, "queue-full");
  EXPECT_EQ(error.code, Errc::exhausted);
  d.cancel(2);
  EXPECT_TRUE(d.engine().check(job(6)).ok());
}

TEST(Why, NamesWhoHoldsWhatAndUntilWhen) {
  Driver d(machine(4));
  JobInfo holder = job(0x5c01aa07, 4);
  holder.time = 600 * second;
  d.run(holder);
  JobInfo mine = job(0x7f3a91c2, 2);
  mine.user = "bob";
  d.submit(mine);
  const auto why = d.engine().why(mine.id);
  ASSERT_EQ(why->blockers.size(), 1U);
  EXPECT_EQ(why->position, 1);
  EXPECT_EQ(why->blockers[0].kind, BlockerKind::gpu);
  EXPECT_EQ(why->blockers[0].need, 2);
  EXPECT_EQ(why->blockers[0].free, 0);
  EXPECT_EQ(why->blockers[0].text, "waits for 2 GPUs; alice's 5c01aa07 holds 0 1 2 3 (for at most 10 min)");
  ASSERT_EQ(why->blockers[0].held_by.size(), 1U);
  EXPECT_EQ(why->blockers[0].held_by[0].user, "alice");
  EXPECT_THAT(why->blockers[0].held_by[0].gpus, testing::ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(d.engine().why(holder.id)->blockers.empty());
  EXPECT_EQ(d.engine().why(JobId(99)), std::nullopt);
}

TEST(Why, NamesOutsidersAndQuarantine) {
  Driver d(machine(3));
  d.apply(DeviceChanged{false, 0, DeviceState::outside, "in use", {{77, "root", 4'000}}});
  d.apply(DeviceChanged{false, 1, DeviceState::quarantined, "process 4711 does not end", {}});
  d.apply(DeviceChanged{false, 2, DeviceState::unknown, "no answer in 5 s", {}});
  d.submit(job(1, 3));
  const auto why = d.engine().why(JobId(1));
  ASSERT_EQ(why->blockers.size(), 4U);
  EXPECT_EQ(why->blockers[0].text, "waits for 3 GPUs");
  EXPECT_EQ(why->blockers[1].kind, BlockerKind::outside);
  EXPECT_EQ(why->blockers[1].text, "GPU 0 is used from outside: root's process 77 with 4000 MiB");
  EXPECT_EQ(why->blockers[2].kind, BlockerKind::quarantined);
  EXPECT_EQ(why->blockers[2].text, "GPU 1 is quarantined: process 4711 does not end");
  EXPECT_EQ(why->blockers[3].text, "GPU 2 does not answer: no answer in 5 s");
}

TEST(Why, NamesPortsMemoryLimitsDrainAndTheOneThatDevicesAreKeptFor) {
  Limits limits;
  limits.max_running = 1;
  Driver d(machine(2, 1, 1'000), limits);
  JobInfo first = job(1, 1);
  first.demand.ports = 1;
  first.demand.memory_bytes = 800;
  d.run(first);
  JobInfo second_job = job(2, 1);
  second_job.demand.ports = 1;
  second_job.demand.memory_bytes = 300;
  d.submit(second_job);
  d.apply(Drain{true});
  const auto why = d.engine().why(JobId(2));
  std::vector<BlockerKind> kinds;
  for (const auto& blocker : why->blockers) kinds.push_back(blocker.kind);
  EXPECT_THAT(kinds, testing::ElementsAre(BlockerKind::drain, BlockerKind::limit, BlockerKind::port,
                                          BlockerKind::memory));
  EXPECT_EQ(why->blockers[3].text, "waits for 300 B of memory; alice's 00000001 holds 800 B");

  Driver held(machine(2));
  held.run(job(1, 1));
  held.submit(job(2, 2));
  held.advance(61 * second);
  held.submit(job(3, 1));
  EXPECT_THAT(held.engine().why(JobId(3))->blockers[0].text,
              HasSubstr("1 free one is kept for alice's 00000002, which has waited longest"));
  EXPECT_EQ(held.engine().why(JobId(2))->blockers[0].free, 1) << "to itself nothing is kept from it";
}

TEST(Devices, ShowWhoHasThemAndInWhatState) {
  Driver d(machine(2, 1));
  const Leases leases = d.run(job(1));
  auto devices = d.engine().devices();
  EXPECT_EQ(devices.gpus[0].state, DeviceState::leased);
  EXPECT_EQ(devices.gpus[0].user, "alice");
  EXPECT_EQ(devices.gpus[1].state, DeviceState::free);
  d.end(1);
  EXPECT_EQ(d.engine().devices().gpus[0].state, DeviceState::releasing);
  d.release(1, leases);
  EXPECT_EQ(d.engine().devices().gpus[0].state, DeviceState::free);
}

}  // namespace
}  // namespace ebb::engine
