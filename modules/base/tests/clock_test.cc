#include "ebb/base/clock.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

using namespace std::chrono_literals;

TEST(Time, IsWrittenWithSixDecimals) {
  EXPECT_EQ(format_time(WallTime(0us)), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(format_time(WallTime(1763938778222226us)), "2025-11-23T22:59:38.222226Z");
  EXPECT_EQ(format_time(WallTime(-1us)), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(format_time(WallTime(951782400s)), "2000-02-29T00:00:00.000000Z");
}

TEST(Time, RoundTrips) {
  for (const auto time : {WallTime(0us), WallTime(1763938778222226us), WallTime(-62135596800s),
                          WallTime(-1us), WallTime(253402300799s)}) {
    EXPECT_EQ(parse_time(format_time(time)), time) << format_time(time);
  }
}

TEST(Time, IsReadInAnyZoneAndPrecision) {
  const WallTime time(1763938778s);
  for (const char* text :
       {"2025-11-23T22:59:38Z", "2025-11-23t22:59:38z", "2025-11-23T22:59:38.0Z",
        "2025-11-23T22:59:38.000000000Z", "2025-11-23T23:59:38+01:00", "2025-11-23T17:29:38-05:30",
        "2025-11-24T00:00:38+01:01", "2025-11-23T22:59:38-00:00"}) {
    EXPECT_EQ(parse_time(text), time) << text;
  }
  EXPECT_EQ(parse_time("2025-11-23T22:59:38.5Z"), time + 500ms);
  EXPECT_EQ(parse_time("2025-11-23T22:59:38.123456789Z"), time + 123456us);
}

TEST(Time, ALeapSecondIsTheNextOne) {
  EXPECT_EQ(parse_time("2016-12-31T23:59:60Z"), parse_time("2017-01-01T00:00:00Z"));
}

TEST(Time, NothingElseIsRead) {
  for (const char* text : {"",
                           "2025",
                           "2025-11-23",
                           "2025-11-23T22:59:38",
                           "2025-11-23 22:59:38Z",
                           "2025-13-01T00:00:00Z",
                           "2025-00-01T00:00:00Z",
                           "2025-02-29T00:00:00Z",
                           "2025-04-31T00:00:00Z",
                           "2025-11-00T00:00:00Z",
                           "2025-11-23T24:00:00Z",
                           "2025-11-23T23:60:00Z",
                           "2025-11-23T23:59:61Z",
                           "2025-11-23T22:59:38.Z",
                           "2025-11-23T22:59:38.1234567890Z",
                           "2025-11-23T22:59:38+0100",
                           "2025-11-23T22:59:38+24:00",
                           "2025-11-23T22:59:38+01:60",
                           "2025-11-23T22:59:38Zx",
                           " 2025-11-23T22:59:38Z",
                           "-025-11-23T22:59:38Z",
                           "2025/11/23T22:59:38Z",
                           "2025-11-23T22-59-38Z",
                           "2025-11-23T22:59:38+01",
                           "+2025-11-23T22:59:38Z"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

TEST(Time, EveryPrefixIsSafeToRead) {
  const std::string_view whole = "2025-11-23T22:59:38.123456+01:00";
  for (std::size_t cut = 0; cut < whole.size(); ++cut) EXPECT_FALSE(parse_time(whole.substr(0, cut))) << cut;
  EXPECT_TRUE(parse_time(whole));
}

TEST(BootClock, NeverGoesBack) {
  const BootTime first = BootClock::now();
  EXPECT_LE(first, BootClock::now());
  EXPECT_GT(first.time_since_epoch(), 0us);
  EXPECT_LE(first, system_clock().boot());
  EXPECT_LT(system_clock().wall() - std::chrono::system_clock::now(), 1min);
}

TEST(BootId, IsTheKernels) {
  EXPECT_EQ(boot_id().size(), 36u);
  EXPECT_EQ(&boot_id(), &boot_id()) << "read once";
  EXPECT_EQ(boot_id().find('\n'), std::string::npos);
}

}  // namespace
}  // namespace ebb
