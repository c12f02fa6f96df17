#include "ebb/flow/runtime/parker.h"

#include <gtest/gtest.h>

#include "crowd.h"
#include "sweep.h"

namespace ebb {
namespace {

using namespace testing;

// A thread that yields its core to one of them stands behind all of them until it has it again.
TEST(Parker, DoesNotYieldToOtherProgramsThatWantTheCores) {
  const Crowd crowd;
  const BootTime begun = BootClock::now();
  EXPECT_EQ(sweep(300'000), 300'000u);
  EXPECT_LT(BootClock::now() - begun, 10s);  // it takes 0.3 s, and where its threads yield, a minute
}

}  // namespace
}  // namespace ebb
