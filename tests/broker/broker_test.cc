// The Kafka source and sink against a real broker, at $EBB_BROKERS: what the cluster of the unit tests does
// not have, which is groups that share a topic, compaction of nothing, and a disk. Run by tests/broker/run.
#include <gmock/gmock.h>

#include <cstdlib>

#include "ebb/base/ids.h"
#include "mock.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::IsEmpty;

class Broker : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* at = std::getenv("EBB_BROKERS");
    ASSERT_NE(at, nullptr) << "run tests/broker/run";
    brokers_ = at;
  }
  std::string brokers_;
  std::string topic_ = "ebb-" + random_hex(4);  // made by the first producer, with the broker's 3 partitions
};

TEST_F(Broker, WhatIsWrittenIsReadOnceByAGroup) {
  produce(brokers_, topic_, 0, 20'000);
  EXPECT_EQ(read_all(brokers_, topic_), values(0, 20'000));
  EXPECT_EQ(read_all(brokers_, topic_, "g-" + topic_), values(0, 20'000));
  EXPECT_THAT(read_all(brokers_, topic_, "g-" + topic_), IsEmpty());
  produce(brokers_, topic_, 20'000, 10);
  EXPECT_EQ(read_all(brokers_, topic_, "g-" + topic_), values(20'000, 10));
}

TEST_F(Broker, AFailureReadsAgain) {
  produce(brokers_, topic_, 0, 100);
  LocalEnvironment env("fails");
  env.from_kafka({.brokers = brokers_, .topic = topic_, .group = "g-" + topic_, .until_end = true})
      .sink([seen = 0](const KafkaRecord&) mutable {
        if (++seen == 50) throw std::runtime_error("broken");
      });
  EXPECT_EQ(failure_of(env).error, "broken");
  EXPECT_EQ(read_all(brokers_, topic_, "g-" + topic_), values(0, 100));
}

// Two pipelines of one group share the partitions; when one ends the other takes over, and nothing is lost.
TEST_F(Broker, PipelinesOfAGroupShareATopic) {
  produce(brokers_, topic_, 0, 10);
  const auto start = [&](LocalEnvironment& env) {
    return env.from_kafka({.brokers = brokers_, .topic = topic_, .group = "g-" + topic_})
        .map([](const KafkaRecord& record) { return record.value; })
        .round_robin()
        .map([](std::string value) { return value; })
        .name("taken")
        .collect();
  };
  LocalEnvironment one("one"), two("two");
  auto of_one = start(one), of_two = start(two);
  Pipeline first = one.submit();
  await(first, "taken", 10);
  Pipeline second = two.submit();
  int next = 10;
  const BootTime deadline = BootClock::now() + 60s;
  while (op(second.report(), "taken").in == 0) {  // until it has been given a partition
    ASSERT_LT(BootClock::now(), deadline);
    produce(brokers_, topic_, next, 10);
    next += 10;
  }
  first.stop();
  EXPECT_TRUE(first.report().ok) << first.report().error;
  const std::uint64_t before = op(second.report(), "taken").in;
  produce(brokers_, topic_, next, 300);
  next += 300;
  await(second, "taken", before + 300);
  second.stop();
  EXPECT_TRUE(second.report().ok) << second.report().error;
  std::vector<std::string> all = of_one.get();
  all.insert(all.end(), of_two.get().begin(), of_two.get().end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());  // at least once
  EXPECT_EQ(all, values(0, next));
  EXPECT_THAT(read_all(brokers_, topic_, "g-" + topic_), IsEmpty());
}

}  // namespace
}  // namespace ebb
