#pragma once

#include <librdkafka/rdkafka.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>

#include "ebb/base/clock.h"
#include "ebb/flow/context.h"

/// What the source and the sink share: owners of librdkafka's objects, its settings, and waiting for what its
/// blocking calls ask for.
namespace ebb::flow {

struct Destroyed {
  void operator()(rd_kafka_conf_t* conf) const noexcept { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_queue_t* queue) const noexcept { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_message_t* message) const noexcept { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_event_t* event) const noexcept { rd_kafka_event_destroy(event); }
  void operator()(rd_kafka_error_t* error) const noexcept { rd_kafka_error_destroy(error); }
  void operator()(rd_kafka_topic_t* topic) const noexcept { rd_kafka_topic_destroy(topic); }
  void operator()(const rd_kafka_metadata_t* metadata) const noexcept { rd_kafka_metadata_destroy(metadata); }
  void operator()(rd_kafka_topic_partition_list_t* list) const noexcept {
    rd_kafka_topic_partition_list_destroy(list);
  }
  void operator()(rd_kafka_headers_t* headers) const noexcept { rd_kafka_headers_destroy(headers); }
};
template <typename T>
using Owned = std::unique_ptr<T, Destroyed>;

/// Kafka, or the way to it, refused something that is no record: it fails the pipeline whatever the policy.
class KafkaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Settings = std::map<std::string, std::string>;

/// librdkafka's settings: ours, which users may not change, defaults of ours, which they may, and theirs.
/// Throws std::invalid_argument.
[[nodiscard]] Owned<rd_kafka_conf_t> make_conf(const Settings& ours, Settings defaults,
                                               const Settings& theirs);

/// What librdkafka said last is wrong, for messages. Any thread.
class LastError {
 public:
  void set(std::string text);
  /// ": TEXT", or nothing.
  [[nodiscard]] std::string text() const;

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

/// A handle that is destroyed without waiting for the group or for deliveries.
class Client {
 public:
  Client() = default;
  /// Takes the settings over. Throws KafkaError.
  Client(rd_kafka_type_t type, Owned<rd_kafka_conf_t> conf);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  [[nodiscard]] rd_kafka_t* get() const noexcept { return handle_; }

 private:
  rd_kafka_t* handle_ = nullptr;
};

/// Calls `ask(milliseconds)`, which blocks for that long at most, again and again until it answers with
/// something else than that it could not ask, or the deadline has passed, which is what it then answers. Ends
/// with RD_KAFKA_RESP_ERR__INTR when `ending` says so; what makes it say so wakes the worker.
[[nodiscard]] rd_kafka_resp_err_t ask_until(Context& context, BootTime deadline,
                                            const std::function<bool()>& ending,
                                            const std::function<rd_kafka_resp_err_t(int)>& ask);
/// The function of this context need not go on: nobody wants what it does.
[[nodiscard]] bool is_ending(Context& context) noexcept;
/// The metadata of this topic: its partitions are there. Null when the pipeline is to end. Throws KafkaError.
[[nodiscard]] Owned<const rd_kafka_metadata_t> topic_metadata(Context& context, rd_kafka_t* client,
                                                              const std::string& brokers,
                                                              const std::string& topic, Duration timeout,
                                                              const LastError& last);

[[nodiscard]] int milliseconds(Duration duration) noexcept;
/// Fails the run at the operator of this context.
void fail_run(Context& context, const std::string& what) noexcept;

}  // namespace ebb::flow
