#include "ebb/base/ids.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <unordered_set>

namespace ebb {
namespace {

TEST(JobId, RoundTrips) {
  for (const std::uint32_t value : {0u, 1u, 0x7f3a91c2u, 0xffffffffu}) {
    EXPECT_EQ(JobId::parse(JobId(value).str()), JobId(value));
  }
  EXPECT_EQ(JobId(0xa).str(), "0000000a");
}

TEST(JobId, IsExactlyEightLowerHexDigits) {
  for (const char* text : {"", "7f3a91c", "7f3a91c20", "7F3A91C2", "7f3a91cg", "0x3a91c2", " 7f3a91c",
                           "-f3a91c2", "7f3a91c\n", "../../..", "7f3a91c/"}) {
    EXPECT_FALSE(JobId::parse(text)) << text;
  }
  EXPECT_FALSE(JobId::parse(std::string_view("7f3a91c\0", 8)));
}

TEST(JobId, RandomOnesDiffer) {
  std::unordered_set<JobId> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(JobId::random());
  EXPECT_GT(seen.size(), 998u);
}

TEST(AttemptId, RoundTrips) {
  const AttemptId id{JobId(0x7f3a91c2), 12};
  EXPECT_EQ(id.str(), "7f3a91c2.12");
  EXPECT_EQ(AttemptId::parse("7f3a91c2.12"), id);
  EXPECT_EQ(AttemptId::parse("7f3a91c2.4294967295")->number, 4294967295u);
}

TEST(AttemptId, HasOneSpellingOnly) {
  for (const char* text : {"", "7f3a91c2", "7f3a91c2.", "7f3a91c2.0", "7f3a91c2.01", "7f3a91c2.+1",
                           "7f3a91c2.-1", "7f3a91c2.1x", "7f3a91c2.1 ", "7f3a91c2.4294967296", "7f3a91c2,1",
                           "7F3A91C2.1", "7f3a91c2.1.1", ".1", "7f3a91c2.99999999999999999999"}) {
    EXPECT_FALSE(AttemptId::parse(text)) << text;
  }
}

TEST(AttemptId, OrdersByJobThenNumber) {
  const AttemptId a{JobId(1), 9}, b{JobId(2), 1}, c{JobId(2), 10};
  EXPECT_LT(a, b);
  EXPECT_LT(b, c);
  EXPECT_EQ((std::set<AttemptId>{c, b, a, b}.size()), 3u);
  EXPECT_NE(std::hash<AttemptId>()(b), std::hash<AttemptId>()(c));
}

TEST(Random, FillsAllBytes) {
  std::array<unsigned char, 4096> bytes{};
  random_bytes(bytes.data(), bytes.size());
  EXPECT_EQ(std::set<unsigned char>(bytes.begin(), bytes.end()).size(), 256u);
  const std::string hex = random_hex(16);
  EXPECT_EQ(hex.size(), 32u);
  EXPECT_EQ(hex.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(hex, random_hex(16));
  EXPECT_EQ(random_hex(0), "");
}

}  // namespace
}  // namespace ebb
