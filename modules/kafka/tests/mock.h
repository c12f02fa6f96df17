// A Kafka cluster within the test: librdkafka's own, whose brokers can be taken away and made to fail.
#pragma once

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <memory>
#include <string>
#include <vector>

#include "ebb/kafka.h"
#include "scene.h"  // of flow's tests

namespace ebb::testing {

using namespace std::chrono_literals;

class MockCluster {
 public:
  explicit MockCluster(int brokers = 1) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, nullptr, 0);
    cluster_ = rd_kafka_mock_cluster_new(handle_, brokers);
  }
  ~MockCluster() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(handle_);
  }
  MockCluster(const MockCluster&) = delete;
  MockCluster& operator=(const MockCluster&) = delete;

  [[nodiscard]] rd_kafka_mock_cluster_t* get() const { return cluster_; }
  [[nodiscard]] std::string brokers() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
  void topic(const std::string& name, int partitions) const {
    ASSERT_EQ(rd_kafka_mock_topic_create(cluster_, name.c_str(), partitions, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  void down() const { rd_kafka_mock_broker_set_down(cluster_, 1); }
  void up() const { rd_kafka_mock_broker_set_up(cluster_, 1); }

 private:
  rd_kafka_t* handle_;
  rd_kafka_mock_cluster_t* cluster_;
};

/// "PREFIX0", "PREFIX1"… into the topic.
inline void produce(const std::string& brokers, const std::string& topic, int first, int count) {
  std::vector<std::pair<std::string, std::string>> records;
  for (int i = first; i < first + count; ++i)
    records.emplace_back("k" + std::to_string(i), "v" + std::to_string(i));
  LocalEnvironment env("produces");
  env.from_collection(std::move(records)).sink(to_kafka({.brokers = brokers, .topic = topic}));
  run(env);
}
/// What a group has not yet read, up to the end; committed.
inline std::vector<std::string> read_all(const std::string& brokers, const std::string& topic,
                                         const std::string& group = "") {
  LocalEnvironment env("reads");
  auto values = env.from_kafka({.brokers = brokers, .topic = topic, .group = group, .until_end = true})
                    .map([](const KafkaRecord& record) { return record.value; })
                    .collect();
  run(env);
  auto all = values.get();
  std::sort(all.begin(), all.end());
  return all;
}
/// How many records of the topic the group has committed, all partitions together.
inline std::int64_t committed(const std::string& brokers, const std::string& topic, int partitions,
                              const std::string& group) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), nullptr, 0);
  rd_kafka_conf_set(conf, "group.id", group.c_str(), nullptr, 0);
  rd_kafka_t* client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, nullptr, 0);
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(partitions);
  rd_kafka_topic_partition_list_add_range(list, topic.c_str(), 0, partitions - 1);
  EXPECT_EQ(rd_kafka_committed(client, list, 20'000), RD_KAFKA_RESP_ERR_NO_ERROR);
  std::int64_t sum = 0;
  for (int i = 0; i < list->cnt; ++i) sum += std::max<std::int64_t>(list->elems[i].offset, 0);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_destroy(client);
  return sum;
}
inline std::vector<std::string> values(int first, int count) {
  std::vector<std::string> all;
  for (int i = first; i < first + count; ++i) all.push_back("v" + std::to_string(i));
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace ebb::testing
