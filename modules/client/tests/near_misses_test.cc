#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ebb/client/client.h"

namespace ebb::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(NearMisses, AreOneDigitOrOneSwapAway) {
  const std::vector<std::string> ids = {"7f3a91c2", "7f3a91c2a", "00000000", "f73a91c3", "7f3a91c3"};
  EXPECT_THAT(near_misses("7f3a91c3", ids), ElementsAre("7f3a91c2", "f73a91c3"));
  EXPECT_THAT(near_misses("12345678", ids), IsEmpty());
}

}  // namespace
}  // namespace ebb::client
