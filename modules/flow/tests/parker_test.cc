#include "ebb/flow/runtime/parker.h"

#include <gtest/gtest.h>

#include "crowd.h"
#include "scene.h"

namespace ebb {
namespace {

using namespace testing;

// A thread that yields its core to one of them stands behind all of them until it has it again.
TEST(Parker, DoesNotYieldToOtherProgramsThatWantTheCores) {
  const Crowd crowd;
  LocalEnvironment env("crowded");
  std::uint64_t out = 0;
  env.from_source([n = 0]() mutable { return n < 300'000 ? std::optional(n++) : std::nullopt; })
      .key_by([](const int& x) { return x; })
      .process<int>(
          [](const int& x, Keyed<ValueState<int>>& state, auto& emit) {
            state->set(x);
            emit(x);
          },
          ValueState<int>().ttl(Duration::zero()))
      .sink([&](int) { ++out; });
  const BootTime begun = BootClock::now();
  run(env);
  EXPECT_EQ(out, 300'000u);
  EXPECT_LT(BootClock::now() - begun, 10s);  // it takes 0.3 s, and where its threads yield, a minute
}

}  // namespace
}  // namespace ebb
