#include "ebb/flow/runtime/ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

namespace ebb::flow {
namespace {

// False where there is nothing.
template <typename T>
bool take(Ring<T>& ring, std::size_t limit, auto&& check) {
  const auto records = ring.front(limit);
  for (const T& record : records) check(record);
  if (records.empty()) return false;
  ring.pop(records.size());
  return true;
}
// As a consumer that sleeps where there is nothing.
template <typename T>
void take_to_the_end(Ring<T>& ring, Parker& consumer, std::size_t limit, auto&& check) {
  while (!ring.ended()) {
    if (!take(ring, limit, check)) consumer.wait([&] { return !ring.empty() || ring.ended(); });
  }
}

TEST(Ring, GivesRecordsInTheirOrderAndKnowsItsEnd) {
  Parker producer, consumer;
  Ring<std::string> ring(4, 4, producer, consumer);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(ring.has_room());
    ring.push(std::to_string(i));
  }
  EXPECT_FALSE(ring.has_room());
  EXPECT_EQ(ring.front(2)[1], "1");
  ring.pop(2);
  EXPECT_TRUE(ring.has_room());
  ring.push("4");
  ring.close();
  EXPECT_FALSE(ring.ended());
  EXPECT_EQ(ring.front(9).size(), 2u) << "no further than the end of its memory";
  ring.pop(2);
  EXPECT_EQ(ring.front(9)[0], "4");
  ring.pop(1);
  EXPECT_TRUE(ring.ended());
  EXPECT_EQ(ring.sent(), 5u);
  EXPECT_EQ(ring.taken(), 5u);
}

TEST(Ring, LosesNothingBetweenTwoThreadsThatSleep) {
  constexpr std::uint64_t kRecords = 200'000;
  Parker producer, consumer;
  Ring<std::uint64_t> ring(16, 16, producer, consumer);
  std::thread taker([&] {
    std::uint64_t next = 0;
    take_to_the_end(ring, consumer, 7, [&](std::uint64_t record) { ASSERT_EQ(record, next++); });
    EXPECT_EQ(next, kRecords);
  });
  for (std::uint64_t i = 0; i < kRecords; ++i) {
    if (!ring.has_room()) producer.wait([&] { return ring.roomy(); });
    ring.push(std::uint64_t{i});
  }
  ring.close();
  taker.join();
}

// However few they are, and wherever the position stands that is told once for many.
TEST(Ring, GivesEachRecordAsSoonAsItWasPushed) {
  Parker producer, consumer;
  Ring<std::uint64_t> ring(4096, 4096, producer, consumer);
  std::uint64_t next = 0, taken = 0;
  for (const std::size_t count : {3u, 1u, 60u, 64u, 65u, 1000u, 1u}) {
    auto writer = ring.writer();
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(writer.has_room());
      writer.push(next++);
    }
    for (std::size_t left = count; left > 0;) {
      const auto records = ring.front(left);
      ASSERT_FALSE(records.empty());
      for (const std::uint64_t record : records) EXPECT_EQ(record, taken++);
      ring.pop(records.size());
      left -= records.size();
    }
    EXPECT_TRUE(ring.empty());
    EXPECT_TRUE(ring.front(1).empty());
  }
}

TEST(Ring, WakesItsConsumerWithASingleRecord) {
  Parker producer, consumer;
  Ring<std::uint64_t> ring(4096, 4096, producer, consumer);
  std::thread taker([&] {
    consumer.wait([&] { return !ring.empty(); });
    EXPECT_EQ(ring.front(9).size(), 1u);
  });
  while (!consumer.sleeping()) std::this_thread::yield();
  auto writer = ring.writer();
  writer.push(7);
  taker.join();
}

// A thread that was asleep needs time to come back, in which the other one must not be without work; but what
// waits must be able to flow out at a stop.
TEST(Ring, HoldsMoreForAConsumerThatIsFastAndFewerForOneThatIsSlow) {
  Parker producer, consumer;
  Ring<std::string> ring(4, 16, producer, consumer);
  std::uint64_t next = 0, taken = 0;
  const auto fill = [&] {
    while (ring.has_room()) ring.push(std::to_string(next++));
    return ring.sent() - ring.taken();
  };
  const auto take = [&](std::size_t count) {
    while (count > 0) {
      const auto records = ring.front(count);
      for (const std::string& record : records) EXPECT_EQ(record, std::to_string(taken++));
      ring.pop(records.size());
      count -= records.size();
    }
  };
  BootTime now = BootClock::now();
  EXPECT_EQ(fill(), 4u);
  ring.hurry(now);
  take(3);
  EXPECT_EQ(fill(), 4u) << "it was never full before";
  ring.hurry(now += std::chrono::microseconds(100));
  for (int i = 0; i < 4; ++i) {
    take(2);
    (void)fill();
  }
  EXPECT_EQ(fill(), 8u);
  ring.hurry(now += std::chrono::microseconds(100));
  for (int i = 0; i < 8; ++i) {
    take(3);
    (void)fill();
  }
  EXPECT_EQ(fill(), 16u) << "as many as it has memory for";
  for (int i = 0; i < 3; ++i) ring.hurry(now += std::chrono::microseconds(100));
  EXPECT_EQ(ring.capacity(), 16u);
  for (int i = 0; i < 3; ++i) ring.hurry(now += std::chrono::milliseconds(2));
  EXPECT_EQ(ring.capacity(), 16u);
  ring.hurry(now += std::chrono::milliseconds(20));
  EXPECT_EQ(ring.capacity(), 8u);
  EXPECT_FALSE(ring.has_room());
  EXPECT_FALSE(ring.writer().has_room());
  for (int i = 0; i < 3; ++i) ring.hurry(now += std::chrono::milliseconds(20));
  EXPECT_EQ(ring.capacity(), 4u) << "no fewer than at first";
  take(14);
  EXPECT_EQ(fill(), 4u);
  ring.hurry(now += std::chrono::microseconds(100));
  EXPECT_TRUE(ring.roomy()) << "it has the places, the producer need not wait";
  EXPECT_EQ(fill(), 8u);
}

TEST(Ring, LosesNothingAsItGrows) {
  constexpr std::uint64_t kRecords = 300'000;
  constexpr std::size_t kMost = 4096;
  Parker producer, consumer;
  Ring<std::string> ring(4, kMost, producer, consumer);
  std::atomic<bool> full = false;
  std::thread taker([&] {
    std::uint64_t next = 0;
    const auto check = [&](const std::string& record) { ASSERT_EQ(record, std::to_string(next++)); };
    // It grows only where it was full: a consumer that keeps up would leave it small.
    while (ring.capacity() < kMost && ring.sent() < kRecords) {
      consumer.wait([&] { return full.exchange(false) || ring.sent() == kRecords; });
      for (const std::uint64_t sent = ring.sent(); ring.taken() < sent;) ASSERT_TRUE(take(ring, 1000, check));
    }
    take_to_the_end(ring, consumer, 1000, check);
    EXPECT_EQ(next, kRecords);
  });
  auto writer = ring.writer();
  for (std::uint64_t i = 0; i < kRecords; ++i) {
    if (!writer.has_room()) {
      if (!ring.has_room()) {
        full = true;
        ring.hurry(BootTime(std::chrono::hours(1)));  // as if no time passed between two
        producer.wait([&] { return ring.roomy(); });
      }
      ASSERT_TRUE(ring.has_room());
      writer = ring.writer();
    }
    writer.push(std::to_string(i));
  }
  ring.close();
  taker.join();
  EXPECT_EQ(ring.capacity(), kMost);
}

TEST(Ring, TellsItsProducerThatNothingIsTakenAnyMore) {
  Parker producer, consumer;
  Ring<int> ring(2, 2, producer, consumer);
  ring.push(1);
  ring.push(2);
  std::thread giver([&] { producer.wait([&] { return ring.roomy(); }); });
  ring.abandon(Discard::failure);
  giver.join();
  EXPECT_TRUE(ring.abandoned());
  EXPECT_EQ(ring.reason(), Discard::failure);
  EXPECT_EQ(ring.sent() - ring.taken(), 2u);
}

}  // namespace
}  // namespace ebb::flow
