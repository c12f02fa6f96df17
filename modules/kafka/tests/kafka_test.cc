#include "mock.h"

#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <set>

#include "crowd.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

TEST(Kafka, WhatIsWrittenIsReadUntilTheEnd) {
  const MockCluster cluster;
  cluster.topic("t", 3);
  produce(cluster.brokers(), "t", 0, 1000);
  EXPECT_EQ(read_all(cluster.brokers(), "t"), values(0, 1000));
  EXPECT_EQ(read_all(cluster.brokers(), "t"), values(0, 1000));  // nothing is remembered without a group
  cluster.topic("empty", 3);
  EXPECT_THAT(read_all(cluster.brokers(), "empty", "g"), IsEmpty());
}

TEST(Kafka, RecordsKeepTheirKeysHeadersAndTombstones) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  LocalEnvironment env("writes");
  env.from_collection(std::vector<KafkaRecord>{{.key = "k", .value = "v", .headers = {{"h", "1"}, {"h", ""}}},
                                               {.key = "", .value = ""},
                                               {.key = "k", .tombstone = true}})
      .sink(to_kafka({.brokers = cluster.brokers(), .topic = "t"}));
  run(env);
  LocalEnvironment back("reads");
  auto read = back.from_kafka({.brokers = cluster.brokers(), .topic = "t", .until_end = true}).collect();
  run(back);
  ASSERT_EQ(read.get().size(), 3u);
  const KafkaRecord& first = read.get()[0];
  EXPECT_EQ(first.key, "k");
  EXPECT_EQ(first.value, "v");
  EXPECT_THAT(first.headers, ElementsAre(std::pair("h", "1"), std::pair("h", "")));
  EXPECT_EQ(first.offset, 0);
  EXPECT_GT(first.timestamp, WallTime(std::chrono::hours(24) * 365 * 50));
  EXPECT_FALSE(read.get()[1].tombstone);
  EXPECT_EQ(read.get()[1].key, "");
  EXPECT_TRUE(read.get()[2].tombstone);
  EXPECT_EQ(read.get()[2].offset, 2);
}

TEST(Kafka, AGroupReadsOnWhereItsLastPipelineEndedWell) {
  const MockCluster cluster;
  cluster.topic("t", 2);
  produce(cluster.brokers(), "t", 0, 10);
  EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(0, 10));
  EXPECT_THAT(read_all(cluster.brokers(), "t", "g"), IsEmpty());
  produce(cluster.brokers(), "t", 10, 5);
  EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(10, 5));
}

TEST(Kafka, WhatAPipelineThatFailedHasReadIsReadAgain) {
  const MockCluster cluster;
  cluster.topic("t", 2);
  produce(cluster.brokers(), "t", 0, 10);
  LocalEnvironment env("fails");
  env.from_kafka({.brokers = cluster.brokers(), .topic = "t", .group = "g", .until_end = true})
      .sink([seen = 0](const KafkaRecord&) mutable {
        if (++seen == 7) throw std::runtime_error("broken");
      });
  EXPECT_EQ(failure_of(env).error, "broken");
  EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(0, 10));
}

// What another operator does at the very end belongs to it: a file whose name cannot be taken.
TEST(Kafka, OffsetsAreCommittedOnlyWhenTheSinksHaveCommitted) {
  const MockCluster cluster;
  cluster.topic("t", 2);
  produce(cluster.brokers(), "t", 0, 10);
  struct Refuses {
    void operator()(const std::string&) {}
    void commit() { throw std::runtime_error("no"); }
  };
  for (const bool on_a_thread_of_its_own : {false, true}) {
    LocalEnvironment env("fails");
    auto records =
        env.from_kafka({.brokers = cluster.brokers(), .topic = "t", .group = "g", .until_end = true})
            .map([](const KafkaRecord& record) { return record.value; });
    if (on_a_thread_of_its_own) {
      std::move(records).round_robin().sink(Refuses{});
    } else {
      std::move(records).sink(Refuses{});
    }
    EXPECT_EQ(failure_of(env).error, "no");
  }
  EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(0, 10));
}

TEST(Kafka, TakeCommitsWhatItTookAndNoMore) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  produce(cluster.brokers(), "t", 0, 10);
  LocalEnvironment env("takes");
  auto first = env.from_kafka({.brokers = cluster.brokers(), .topic = "t", .group = "g"})
                   .map([](const KafkaRecord& record) { return record.value; })
                   .take(4)
                   .collect();
  run(env);
  EXPECT_EQ(first.get(), values(0, 4));
  EXPECT_EQ(committed(cluster.brokers(), "t", 1, "g"), 4);
}

TEST(Kafka, AnEndlessOneHearsAStopAndCommits) {
  const MockCluster cluster;
  cluster.topic("t", 2);
  produce(cluster.brokers(), "t", 0, 10);
  LocalEnvironment env("endless");
  env.from_kafka({.brokers = cluster.brokers(), .topic = "t", .group = "g"})
      .map([](const KafkaRecord& record) { return record.value; })
      .round_robin()
      .sink([](const std::string&) {})
      .name("out");
  Pipeline pipeline = env.submit();
  await(pipeline, "out", 10);
  produce(cluster.brokers(), "t", 10, 1);
  await(pipeline, "out", 11);
  const BootTime begun = BootClock::now();
  pipeline.stop();
  EXPECT_TRUE(pipeline.report().ok) << pipeline.report().error;
  EXPECT_LT(BootClock::now() - begun, 10s);
  EXPECT_EQ(committed(cluster.brokers(), "t", 2, "g"), 11);
}

TEST(Kafka, ACancelCommitsNothingUnlessItWasTimeTo) {
  const MockCluster cluster;
  cluster.topic("t", 2);
  produce(cluster.brokers(), "t", 0, 10);
  LocalEnvironment env("cancelled");
  env.from_kafka({.brokers = cluster.brokers(), .topic = "t", .group = "never"})
      .round_robin()
      .sink([](const KafkaRecord&) {})
      .name("out");
  Pipeline pipeline = env.submit();
  await(pipeline, "out", 10);
  pipeline.cancel();
  EXPECT_EQ(committed(cluster.brokers(), "t", 2, "never"), 0);
  LocalEnvironment often("often");
  often.from_kafka({.brokers = cluster.brokers(), .topic = "t", .group = "often", .commit_every = 10ms})
      .round_robin()
      .sink([](const KafkaRecord&) {})
      .name("out");
  Pipeline second = often.submit();
  await(second, "out", 10);
  const BootTime deadline = BootClock::now() + 30s;
  while (committed(cluster.brokers(), "t", 2, "often") < 10) ASSERT_LT(BootClock::now(), deadline);
  second.cancel();
  EXPECT_EQ(committed(cluster.brokers(), "t", 2, "often"), 10);
}

// ---- what goes wrong

TEST(Kafka, NoBrokerFailsInTimeBeforeTheFirstRecord) {
  LocalEnvironment env("reads");
  env.from_kafka({.brokers = "127.0.0.1:1", .topic = "t", .connect_timeout = 500ms})
      .sink([](const KafkaRecord&) {});
  const BootTime begun = BootClock::now();
  EXPECT_THAT(failure_of(env).error, HasSubstr("ebb: no Kafka broker at 127.0.0.1:1 answered within 500 ms"));
  EXPECT_LT(BootClock::now() - begun, 10s);
  LocalEnvironment writes("writes");
  int records = 0;
  writes.from_collection(std::vector<std::string>{"x"})
      .map([&](std::string s) {
        ++records;
        return s;
      })
      .sink(to_kafka({.brokers = "127.0.0.1:1", .topic = "t", .connect_timeout = 500ms}));
  EXPECT_THAT(failure_of(writes).error, HasSubstr("Connection refused"));
  EXPECT_EQ(records, 0);
}

TEST(Kafka, AStopIsHeardWhileNoBrokerAnswers) {
  LocalEnvironment env("reads");
  env.from_kafka({.brokers = "127.0.0.1:1", .topic = "t", .connect_timeout = 5min})
      .sink([](const KafkaRecord&) {});
  env.from_collection(std::vector<std::string>{"x"})
      .sink(to_kafka({.brokers = "127.0.0.1:1", .topic = "t", .connect_timeout = 5min}));
  Pipeline pipeline = env.submit();
  const BootTime begun = BootClock::now();
  pipeline.cancel();
  EXPECT_EQ(pipeline.report().outcome, Outcome::cancelled);
  EXPECT_LT(BootClock::now() - begun, 10s);
}

TEST(Kafka, ABrokerThatIsLostForAWhileIsFoundAgain) {
  const MockCluster cluster;
  cluster.topic("in", 2);
  cluster.topic("out", 2);
  produce(cluster.brokers(), "in", 0, 10);
  LocalEnvironment env("endless");
  env.from_kafka({.brokers = cluster.brokers(),
                  .topic = "in",
                  .group = "g",
                  .settings = {{"reconnect.backoff.max.ms", "200"}}})
      .name("in")
      .map([](const KafkaRecord& record) { return record.value; })
      .round_robin()
      .sink(to_kafka(
          {.brokers = cluster.brokers(), .topic = "out", .settings = {{"reconnect.backoff.max.ms", "200"}}}))
      .name("out");
  Pipeline pipeline = env.submit();
  await(pipeline, "out", 10);
  cluster.down();
  cluster.up();
  produce(cluster.brokers(), "in", 10, 10);
  await(pipeline, "out", 20);
  pipeline.drain();
  EXPECT_TRUE(pipeline.report().ok) << pipeline.report().error;
  EXPECT_EQ(read_all(cluster.brokers(), "out"), values(0, 20));
}

TEST(Kafka, ErrorsThatPassAreTriedAgain) {
  constexpr std::int16_t kProduce = 0, kFetch = 1, kListOffsets = 2, kMetadata = 3, kOffsetCommit = 8,
                         kOffsetFetch = 9;
  const std::vector<std::pair<std::int16_t, rd_kafka_resp_err_t>> cases{
      {kProduce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION},
      {kProduce, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS},
      {kFetch, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION},
      {kFetch, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT},
      {kListOffsets, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE},
      {kMetadata, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE},
      {kOffsetCommit, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS},
      {kOffsetFetch, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS},
      {kOffsetFetch, RD_KAFKA_RESP_ERR_NOT_COORDINATOR},
      {kOffsetCommit, RD_KAFKA_RESP_ERR_NOT_COORDINATOR},
      {kProduce, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT}};
  for (const auto& [request, error] : cases) {
    SCOPED_TRACE(std::to_string(request) + ' ' + rd_kafka_err2name(error));
    const MockCluster cluster;
    cluster.topic("t", 1);
    if (request == kProduce) rd_kafka_mock_push_request_errors(cluster.get(), request, 2, error, error);
    produce(cluster.brokers(), "t", 0, 10);
    if (request != kProduce) rd_kafka_mock_push_request_errors(cluster.get(), request, 2, error, error);
    // What is thrown past a trace would not say which case it was.
    EXPECT_NO_THROW(EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(0, 10)));
    EXPECT_EQ(committed(cluster.brokers(), "t", 1, "g"), 10);
  }
}

// It was found anew for ever: where its answer came later than the moment at which librdkafka commits again,
// finding it closed the connection that this commit waited for, which made it be looked for again.
TEST(Kafka, ACommitFindsItsCoordinatorAgainOnALoadedMachine) {
  constexpr std::int16_t kOffsetCommit = 8;
  const Crowd crowd;
  const MockCluster cluster;
  cluster.topic("t", 1);
  produce(cluster.brokers(), "t", 0, 10);
  const auto error = RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
  rd_kafka_mock_push_request_errors(cluster.get(), kOffsetCommit, 2, error, error);
  EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(0, 10));
  EXPECT_EQ(committed(cluster.brokers(), "t", 1, "g"), 10);
}

// A broker that is silent is asked again before the end gives up, as one that answers with an error is.
TEST(Kafka, ACommitThatIsNotAnsweredIsSentAgain) {
  constexpr std::int16_t kOffsetCommit = 8;
  constexpr int kSilentMs = 300'000;
  const MockCluster cluster;
  cluster.topic("t", 1);
  produce(cluster.brokers(), "t", 0, 10);
  rd_kafka_mock_broker_push_request_error_rtts(cluster.get(), 1, kOffsetCommit, 1, RD_KAFKA_RESP_ERR_NO_ERROR,
                                               kSilentMs);
  EXPECT_EQ(read_all(cluster.brokers(), "t", "g"), values(0, 10));
  EXPECT_EQ(committed(cluster.brokers(), "t", 1, "g"), 10);
}

TEST(Kafka, ADeliveryThatFailsFailsThePipelineWhateverThePolicy) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  rd_kafka_mock_push_request_errors(cluster.get(), 0, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  LocalEnvironment env("writes");
  env.from_collection(std::vector<std::string>{"a", "b"})
      .sink(to_kafka({.brokers = cluster.brokers(), .topic = "t"}))
      .on_error(skip)
      .name("out");
  const PipelineReport report = failure_of(env);
  EXPECT_EQ(report.failed_at, "out");
  EXPECT_THAT(report.error, HasSubstr("a record was not delivered: Broker: Topic authorization failed"));
}

TEST(Kafka, ADeliveryThatFailsIsKnownWithoutAnotherRecord) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  LocalEnvironment env("writes");
  env.from_source([first = true](const std::stop_token& stop) mutable -> std::optional<std::string> {
       if (std::exchange(first, false)) return "a";
       std::mutex mutex;
       std::unique_lock lock(mutex);
       std::condition_variable_any().wait(lock, stop, [] { return false; });
       return std::nullopt;
     })
      .sink(to_kafka({.brokers = cluster.brokers(), .topic = "t"}));
  rd_kafka_mock_push_request_errors(cluster.get(), 0, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  EXPECT_THAT(failure_of(env).error, HasSubstr("Topic authorization failed"));
}

TEST(Kafka, ABrokerThatStaysAwayFailsTheSinkInTime) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  LocalEnvironment env("writes");
  env.from_source([&, sent = 0]() mutable -> std::optional<std::string> {
       if (sent == 10) return std::nullopt;
       if (sent++ == 0) cluster.down();
       return "x";
     })
      .sink(to_kafka({.brokers = cluster.brokers(), .topic = "t", .delivery_timeout = 1s}));
  const BootTime begun = BootClock::now();
  EXPECT_THAT(failure_of(env).error, HasSubstr("a record was not delivered: Local: Message timed out"));
  EXPECT_LT(BootClock::now() - begun, 30s);
}

TEST(Kafka, AFullQueueHoldsRecordsBackAndACancelEndsTheWait) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  rd_kafka_mock_broker_set_rtt(cluster.get(), 1, 200);
  LocalEnvironment env("slow");
  env.from_source([n = 0]() mutable -> std::optional<std::string> {
       if (n == 30) return std::nullopt;
       return std::string(400, static_cast<char>('a' + n++ % 26));
     })
      .sink(to_kafka({.brokers = cluster.brokers(), .topic = "t", .queued_kib = 2}))
      .name("out");
  const PipelineReport report = run(env);
  EXPECT_GT(report.stages.at(0).blocked, 200ms);
  EXPECT_EQ(read_all(cluster.brokers(), "t").size(), 30u);
  LocalEnvironment stuck("stuck");
  stuck
      .from_source([n = 0, &cluster]() mutable -> std::optional<std::string> {
        if (n++ == 0) cluster.down();
        return std::string(400, 'x');
      })
      .sink(to_kafka({.brokers = cluster.brokers(), .topic = "t", .queued_kib = 2}))
      .name("out");
  Pipeline pipeline = stuck.submit();
  const BootTime deadline = BootClock::now() + 30s;
  while (pipeline.report().stages.empty() || pipeline.status() == Pipeline::Status::starting)
    ASSERT_LT(BootClock::now(), deadline);
  const BootTime begun = BootClock::now();
  pipeline.cancel();
  EXPECT_EQ(pipeline.report().outcome, Outcome::cancelled);
  EXPECT_LT(BootClock::now() - begun, 10s);
}

TEST(Kafka, WhatCannotBeIsSaidAtOnce) {
  const MockCluster cluster;
  LocalEnvironment env("wrong");
  EXPECT_THROW((void)env.from_kafka({.brokers = "", .topic = "t"}), std::invalid_argument);
  EXPECT_THROW((void)to_kafka({.brokers = "x", .topic = ""}), std::invalid_argument);
  const auto set = [](const char* name, const char* value) {
    return [=] { (void)to_kafka({.brokers = "x", .topic = "t", .settings = {{name, value}}}); };
  };
  const auto refused = [](const char* why) { return ThrowsMessage<std::invalid_argument>(HasSubstr(why)); };
  EXPECT_THAT(set("enable.idempotence", "false"), refused("'enable.idempotence' is Ebb's own"));
  EXPECT_THAT(set("linger", "1"), refused("No such configuration property"));
  EXPECT_THAT(set("linger.ms", "soon"), refused("'linger.ms': Invalid value"));
  EXPECT_NO_THROW(set("linger.ms", "1")());
  LocalEnvironment missing("missing");
  missing
      .from_kafka({.brokers = cluster.brokers(),
                   .topic = "t",
                   .connect_timeout = 500ms,
                   .settings = {{"allow.auto.create.topics", "false"}}})
      .sink([](const KafkaRecord&) {});
  rd_kafka_mock_topic_set_error(cluster.get(), "t", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  EXPECT_THAT(failure_of(missing).error,
              HasSubstr("Kafka topic 't' at " + cluster.brokers() + ": Broker: Unknown topic"));
}

TEST(Kafka, ATopicThatGoesAwayFailsThePipeline) {
  const MockCluster cluster;
  cluster.topic("t", 1);
  produce(cluster.brokers(), "t", 0, 1);
  LocalEnvironment env("reads");
  env.from_kafka({.brokers = cluster.brokers(),
                  .topic = "t",
                  .group = "g",
                  .settings = {{"topic.metadata.refresh.interval.ms", "100"},
                               {"topic.metadata.propagation.max.ms", "100"}}})
      .round_robin()
      .sink([](const KafkaRecord&) {})
      .name("out");
  Pipeline pipeline = env.submit();
  await(pipeline, "out", 1);
  rd_kafka_mock_topic_set_error(cluster.get(), "t", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  EXPECT_TRUE(pipeline.wait(60s));
  pipeline.stop();
  EXPECT_THAT(pipeline.report().error, HasSubstr("Topic authorization failed"));
}

}  // namespace
}  // namespace ebb
