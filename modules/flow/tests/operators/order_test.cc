// Order through replicas.
#include <gmock/gmock.h>

#include <memory>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Replicas that take unequally long.
int slowly(int x) {
  volatile int spin = x % 7 * 200;
  while (spin > 0) spin = spin - 1;
  return x;
}

TEST(Ordered, AParallelMapKeepsTheOrderOfItsInput) {
  LocalEnvironment env("order");
  auto out = env.from_collection(numbers(20'000)).map(slowly).parallelism(3).ordered().collect();
  run(env);
  EXPECT_EQ(out.get(), numbers(20'000));
}

TEST(Ordered, RecordsThatAreSkippedLeaveNoHole) {
  LocalEnvironment env("skip");
  auto out = env.from_collection(numbers(1000))
                 .map([](int x) {
                   if (x % 10 < 3) throw std::runtime_error("bad");
                   return std::make_unique<int>(slowly(x));
                 })
                 .on_error(skip)
                 .parallelism(4)
                 .ordered()
                 .map([](std::unique_ptr<int> x) { return *x; })
                 .collect();
  const PipelineReport report = run(env);
  std::vector<int> expected;
  for (int x = 0; x < 1000; ++x) {
    if (x % 10 >= 3) expected.push_back(x);
  }
  EXPECT_EQ(out.get(), expected);
  EXPECT_EQ(op(report, "map").skipped, 300U);
  EXPECT_EQ(op(report, "ordered").filtered, 300U);
}

TEST(Ordered, AReplicaThatEndsEarlyEndsNothingElse) {
  LocalEnvironment env("early");
  auto out = env.from_collection(numbers(1000))
                 .map([](int x, Context& c) {
                   if (c.replica() == 1 && x > 100) c.finish();
                   return x;
                 })
                 .parallelism(3)
                 .ordered()
                 .collect();
  run(env);
  EXPECT_TRUE(std::is_sorted(out.get().begin(), out.get().end()));
  EXPECT_GE(out.get().size(), 666U);
}

TEST(Ordered, BehindSeveralProducersIsRefused) {
  LocalEnvironment env("several");
  const auto build = [&] {
    env.from_collection(numbers(10))
        .map(slowly)
        .parallelism(2)
        .map(slowly)
        .parallelism(2)
        .name("second")
        .ordered()
        .sink([](int) {});
  };
  EXPECT_THAT(build, ThrowsMessage<std::logic_error>(HasSubstr("'second' needs one replica")));
}

}  // namespace
}  // namespace ebb
