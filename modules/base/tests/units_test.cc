#include "ebb/base/units.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kKi = 1024, kMi = kKi * kKi, kGi = kMi * kKi, kTi = kGi * kKi, kPi = kTi * kKi;
constexpr Duration kLongest = std::chrono::hours(100 * 8766);

TEST(Durations, EveryUnitIsRead) {
  EXPECT_EQ(*parse_duration("7us"), 7us);
  EXPECT_EQ(*parse_duration("500ms"), 500ms);
  EXPECT_EQ(*parse_duration("10s"), 10s);
  EXPECT_EQ(*parse_duration("2m"), 2min);
  EXPECT_EQ(*parse_duration("2min"), 2min);
  EXPECT_EQ(*parse_duration("3h"), 3h);
  EXPECT_EQ(*parse_duration("1d"), 24h);
  EXPECT_EQ(*parse_duration("0"), 0us);
  EXPECT_EQ(*parse_duration("0s"), 0us);
}

TEST(Durations, PartsAndFractionsAddUp) {
  EXPECT_EQ(*parse_duration("1h30min"), 90min);
  EXPECT_EQ(*parse_duration("1 h 30 min"), 90min);
  EXPECT_EQ(*parse_duration(" 1.5h "), 90min);
  EXPECT_EQ(*parse_duration(".5s"), 500ms);
  EXPECT_EQ(*parse_duration("1.s"), 1s);
  EXPECT_EQ(*parse_duration("0.1s"), 100ms);
  EXPECT_EQ(*parse_duration("0.0000004s"), 0us);
}

TEST(Durations, GarbageIsRefusedWithAnExample) {
  for (const char* text : {"", " ", "10", "s", "-1s", "+1s", "1e3s", "infs", "nans", "1x", "1S", "1.2.3s",
                           "1s,2s", "1s-", "0x1s", "1s2", ".s", "\t1s", "1\xc2\xb5s"}) {
    const auto refused = parse_duration(text);
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_EQ(refused.error().code, Errc::invalid);
    EXPECT_NE(refused.error().message.find("1h30min"), std::string::npos);
  }
}

TEST(Durations, AHundredYearsAreTheMost) {
  EXPECT_EQ(*parse_duration("36525d"), kLongest);
  for (const std::string& text : {std::string("36526d"), std::string("36525d1us"),
                                  std::string(300, '9').append("s"), std::string(400, '9').append("s")}) {
    EXPECT_FALSE(parse_duration(text).ok()) << text;
  }
}

TEST(Durations, WhatIsWrittenIsReadBackExactly) {
  for (const Duration duration :
       {Duration(0us), Duration(1us), Duration(999us), Duration(1ms), Duration(1500ms), Duration(1s),
        Duration(1000001us), Duration(90s), Duration(24h), Duration(123456789012345us), kLongest,
        kLongest - 1us, kLongest - 1ms}) {
    EXPECT_EQ(*parse_duration(write_duration(duration)), duration) << write_duration(duration);
  }
  EXPECT_EQ(write_duration(90s), "90s");
  EXPECT_EQ(write_duration(1500ms), "1500ms");
}

TEST(Durations, AreShownToPeople) {
  EXPECT_EQ(format_duration(0us), "0 us");
  EXPECT_EQ(format_duration(41ms), "41 ms");
  EXPECT_EQ(format_duration(1230us), "1.23 ms");
  EXPECT_EQ(format_duration(2500ms), "2.5 s");
  EXPECT_EQ(format_duration(59s), "59 s");
  EXPECT_EQ(format_duration(60s), "1 min");
  EXPECT_EQ(format_duration(90s), "1 min 30 s");
  EXPECT_EQ(format_duration(90min), "1 h 30 min");
  EXPECT_EQ(format_duration(36h), "1 d 12 h");
  EXPECT_EQ(format_duration(-2s), "-2 s");
}

TEST(Durations, AreNumbersOfSecondsToo) {
  EXPECT_EQ(from_seconds(1.5), 1500ms);
  EXPECT_EQ(from_seconds(-1), -1s);
  EXPECT_DOUBLE_EQ(to_seconds(1500ms), 1.5);
  EXPECT_DOUBLE_EQ(to_ms(1500us), 1.5);
}

TEST(Sizes, EveryUnitIsRead) {
  EXPECT_EQ(*parse_size("0"), 0);
  EXPECT_EQ(*parse_size("512"), 512);
  EXPECT_EQ(*parse_size("512B"), 512);
  EXPECT_EQ(*parse_size("1kB"), 1000);
  EXPECT_EQ(*parse_size("1KB"), 1000);
  EXPECT_EQ(*parse_size("2MB"), 2'000'000);
  EXPECT_EQ(*parse_size("2GB"), 2'000'000'000);
  EXPECT_EQ(*parse_size("2TB"), 2'000'000'000'000);
  for (const char* text : {"1K", "1KiB", "1 KiB", " 1KiB"}) EXPECT_EQ(*parse_size(text), kKi) << text;
  for (const char* text : {"3M", "3MiB"}) EXPECT_EQ(*parse_size(text), 3 * kMi) << text;
  for (const char* text : {"3G", "3GiB"}) EXPECT_EQ(*parse_size(text), 3 * kGi) << text;
  for (const char* text : {"3T", "3TiB"}) EXPECT_EQ(*parse_size(text), 3 * kTi) << text;
  EXPECT_EQ(*parse_size("1.5KiB"), 1536);
}

TEST(Sizes, GarbageAndOverflowAreRefused) {
  for (const std::string& text :
       {std::string(), std::string("-1"), std::string("1 2"), std::string("MiB"), std::string("1mib"),
        std::string("1e9"), std::string("1MiB2"), std::string("1EiB"), std::string("9300000000000000000"),
        std::string("10000000TiB"), std::string(400, '9'), std::string("0x10"), std::string("1,5M")}) {
    const auto refused = parse_size(text);
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_EQ(refused.error().code, Errc::invalid);
    EXPECT_LT(refused.error().message.size(), 200u) << "a long input is cut";
  }
}

TEST(Sizes, WhatIsShownCanBeRead) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(512), "512 B");
  EXPECT_EQ(format_size(kGi), "1 GiB");
  EXPECT_EQ(format_size(kMi * 3 / 2), "1.5 MiB");
  for (const std::int64_t size : {std::int64_t{1}, kKi, kMi, 3 * kGi / 2, kTi, kPi, 100 * kPi}) {
    EXPECT_EQ(*parse_size(format_size(size)), size) << format_size(size);
  }
}

}  // namespace
}  // namespace ebb
