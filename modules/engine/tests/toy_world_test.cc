#include "toy_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::engine::test {
namespace {

using testing::IsEmpty;

TEST(ToyWorld, KeepsEveryRuleOverManySeeds) {
  std::size_t ended = 0;
  std::size_t crashes = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    ToyOptions options;
    options.seed = seed;
    options.gpus = 1 + static_cast<int>(seed % 5);
    ToyWorld world(options);
    world.run(1'500);
    if (seed % 3 == 0) world.shut_down();
    world.run(300);
    world.settle();
    ASSERT_THAT(world.violations(), IsEmpty());
    ended += world.ended();
    crashes += world.crashes();
  }
  EXPECT_GT(ended, 10'000U);
  EXPECT_GT(crashes, 500U);
}

TEST(ToyWorld, RepeatsARunFromItsSeed) {
  ToyOptions options;
  options.seed = 42;
  ToyWorld one(options);
  ToyWorld two(options);
  one.run(3'000);
  two.run(3'000);
  EXPECT_EQ(one.events(), two.events());
  EXPECT_EQ(one.ended(), two.ended());
}

}  // namespace
}  // namespace ebb::engine::test
