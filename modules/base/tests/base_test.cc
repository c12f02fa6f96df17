#include <gtest/gtest.h>

#include "ebb/base/ids.h"

namespace ebb {
namespace {
TEST(JobId, RoundTrips) {
  EXPECT_EQ(JobId::parse("7f3a91c2")->str(), "7f3a91c2");
  EXPECT_FALSE(JobId::parse("7F3A91C2"));
}
}  // namespace
}  // namespace ebb
