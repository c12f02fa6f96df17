// Topics of Apache Kafka as sources and sinks of pipelines; docs/pipelines.md teaches it.
#pragma once

#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/flow/context.h"

namespace ebb {

struct KafkaRecord {
  std::string key = {};  ///< empty: it has none
  std::string value = {};
  bool tombstone = false;  ///< its value is null: what its key stood for is gone
  std::vector<std::pair<std::string, std::string>> headers = {};
  // Where it was read; not looked at when it is written.
  int partition = 0;
  std::int64_t offset = 0;
  WallTime timestamp = {};
};

/// What `env.from_kafka(…)` reads.
///
/// Each record is read at least once by the pipelines of a group: its offset is committed when a pipeline
/// that has taken it has ended well (after the commit() of its sinks, or at the same time), so that after a
/// failure, a cancel or a crash it is read again. See commit_every for pipelines that never end.
struct KafkaSource {
  std::string brokers;  ///< "host:port", several with commas
  std::string topic;
  /// What has been read is remembered under this name, and pipelines of the same group share the topic's
  /// partitions. Empty: reads all partitions, and nothing is remembered.
  std::string group = {};
  /// Reads all partitions up to where they ended when the pipeline started, then ends.
  bool until_end = false;
  /// Where to begin in a partition of which the group remembers nothing; false: with what comes from now on.
  bool from_beginning = true;
  /// Commits while the pipeline runs, too, what was handed to the operators that follow; 0: only at the end.
  /// What is then under way between threads, or in a file that has not got its name, is lost with a crash or
  /// a failure: at most once.
  Duration commit_every = {};
  /// At the start: how long until a broker must have answered, and the topic be there.
  Duration connect_timeout = std::chrono::seconds(30);
  /// Records that were fetched but not yet taken, in KiB.
  int queued_kib = 64 << 10;
  /// librdkafka's, for the rest: security, fetch sizes… Those that Ebb depends on are refused.
  /// A fetch.wait.max.ms of a second or more needs a longer retry.backoff.ms (here 1000).
  std::map<std::string, std::string> settings = {};
};

/// What `.sink(ebb::to_kafka(…))` writes to.
///
/// Each record is written at least once, by an idempotent producer, in order within a partition. The pipeline
/// ends well only when the brokers have acknowledged all; a record that they have not taken within
/// `delivery_timeout` fails it. What they had taken before a failure stays.
struct KafkaSink {
  std::string brokers;  ///< "host:port", several with commas
  std::string topic;
  Duration delivery_timeout = std::chrono::minutes(2);
  /// At the start: how long until a broker must have answered, and the topic be there.
  Duration connect_timeout = std::chrono::seconds(30);
  /// Records that are not yet acknowledged, in KiB; more must wait.
  int queued_kib = 64 << 10;
  /// librdkafka's, for the rest. Those that Ebb depends on are refused.
  std::map<std::string, std::string> settings = {};
};

namespace flow {

/// Reads records of a topic, one for each call.
class KafkaReader {
 public:
  /// Throws std::invalid_argument for settings that cannot be.
  explicit KafkaReader(KafkaSource options);
  KafkaReader(KafkaReader&&) noexcept;
  KafkaReader& operator=(KafkaReader&&) noexcept;
  KafkaReader(const KafkaReader&) = delete;
  KafkaReader& operator=(const KafkaReader&) = delete;
  ~KafkaReader();

  void open(Context& context);
  std::optional<KafkaRecord> operator()();
  void commit();
  void abort();
  void close();

  struct State;

 private:
  std::unique_ptr<State> state_;
};
template <typename T>
concept KafkaPair = requires(const T& pair) {
  std::string_view(pair.first);
  std::string_view(pair.second);
};

/// Writes records to a topic. A copy has no producer until its open().
class KafkaWriter {
 public:
  /// Throws std::invalid_argument for settings that cannot be.
  explicit KafkaWriter(KafkaSink options);
  KafkaWriter(const KafkaWriter& other);
  KafkaWriter(KafkaWriter&&) noexcept;
  KafkaWriter& operator=(const KafkaWriter&) = delete;
  KafkaWriter& operator=(KafkaWriter&&) = delete;
  ~KafkaWriter();

  void open(Context& context);
  template <typename T>
  auto operator()(const T& record) {
    if constexpr (std::same_as<T, KafkaRecord>) {
      write(record);
    } else if constexpr (std::convertible_to<const T&, std::string_view>) {
      write({}, std::string_view(record));
    } else if constexpr (KafkaPair<T>) {
      write(std::string_view(record.first), std::string_view(record.second));
    } else {
      static_assert(KafkaPair<T>,
                    "ebb: to_kafka() writes strings, pairs of key and value, and KafkaRecords: map() the "
                    "records to one of these first");
    }
  }
  void finish();
  void commit();
  void abort();
  void close();

  class State;

 private:
  void write(const KafkaRecord& record);
  void write(std::string_view key, std::string_view value);

  std::shared_ptr<const KafkaSink> options_;
  std::unique_ptr<State> state_;
};

}  // namespace flow

/// What from_kafka() makes of its options.
[[nodiscard]] flow::KafkaReader source_of(KafkaSource options);

/// A sink: `.sink(ebb::to_kafka({.brokers = "localhost:9092", .topic = "totals"}))`. Records are strings,
/// pairs of key and value, or KafkaRecords.
[[nodiscard]] flow::KafkaWriter to_kafka(KafkaSink options);

}  // namespace ebb
