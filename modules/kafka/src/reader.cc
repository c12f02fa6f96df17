#include <algorithm>
#include <limits>
#include <set>

#include "client.h"
#include "ebb/base/ids.h"
#include "ebb/flow/runtime/worker.h"
#include "ebb/kafka.h"

namespace ebb::flow {
namespace {

// How long the end may take for each of its steps: to commit, to leave the group.
constexpr Duration kCommitTimeout = std::chrono::seconds(30);
constexpr Duration kLeaveTimeout = std::chrono::seconds(5);
// A wait looks up now and then, so that the group sees that somebody is there.
constexpr Duration kLookUp = std::chrono::minutes(1);

Owned<rd_kafka_conf_t> conf_of(const KafkaSource& options) {
  if (options.brokers.empty() || options.topic.empty()) {
    throw std::invalid_argument("ebb: from_kafka() needs .brokers and .topic");
  }
  const Settings ours{
      {"bootstrap.servers", options.brokers},
      {"group.id", options.group.empty() ? "ebb-" + random_hex(8) : options.group},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"enable.partition.eof", options.until_end ? "true" : "false"},
      {"auto.offset.reset", options.from_beginning ? "earliest" : "latest"},
      {"queued.max.messages.kbytes", std::to_string(options.queued_kib)},
      {"max.poll.interval.ms", "86400000"},  // an operator behind it may take its time
  };
  const Settings defaults{
      {"client.id", "ebb"},
      // A broker that is silent is given up, and asked again, before the end is: librdkafka's own minute is
      // longer than the end has, and its client is not gone before that.
      {"socket.timeout.ms", "10000"},
      // Longer than a fetch may wait for records (fetch.wait.max.ms), behind which the question stands who
      // the group's coordinator is. Were a commit sent again before that is answered, then the connection
      // would be closed under it when the answer comes, which makes librdkafka ask again: for ever.
      {"retry.backoff.ms", "1000"},
  };
  return make_conf(ours, defaults, options.settings);
}

// What no waiting changes.
bool is_final(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
      return true;
    default:
      return false;
  }
}

void read_headers(const rd_kafka_message_t& message, KafkaRecord& record) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  for (std::size_t i = 0;
       rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
    record.headers.emplace_back(
        name, value == nullptr ? std::string() : std::string(static_cast<const char*>(value), size));
  }
}

KafkaRecord record_of(const rd_kafka_message_t& message) {
  KafkaRecord record;
  if (message.key != nullptr) record.key.assign(static_cast<const char*>(message.key), message.key_len);
  record.tombstone = message.payload == nullptr;
  if (!record.tombstone) record.value.assign(static_cast<const char*>(message.payload), message.len);
  read_headers(message, record);
  record.partition = message.partition;
  record.offset = message.offset;
  const std::int64_t ms = rd_kafka_message_timestamp(&message, nullptr);
  record.timestamp = WallTime(std::chrono::milliseconds(std::max<std::int64_t>(ms, 0)));
  return record;
}

}  // namespace

struct KafkaReader::State {
  explicit State(KafkaSource source) : options(std::move(source)), conf(conf_of(options)) {}

  [[nodiscard]] bool assigns() const noexcept { return options.until_end || options.group.empty(); }
  [[nodiscard]] bool commits() const noexcept { return !options.group.empty(); }
  [[nodiscard]] bool is_ending() const noexcept { return flow::is_ending(*context); }

  void open();
  void assign_all(const rd_kafka_metadata_t& metadata);
  void subscribe();
  std::optional<KafkaRecord> next();
  bool is_wanted(const rd_kafka_message_t& message);
  void note_end(std::int32_t partition, std::int64_t next);
  void check(const rd_kafka_message_t& message) const;
  void commit_now();
  void commit_at_times();
  [[nodiscard]] Owned<rd_kafka_topic_partition_list_t> taken() const;
  void wait_for(rd_kafka_queue_t* queue, Duration most, Doing doing) const;
  void leave() noexcept;
  static void rebalanced(rd_kafka_t* client, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t* partitions, void* opaque);
  static void failed(rd_kafka_t*, int, const char* reason, void* opaque);
  static void woken(rd_kafka_t*, void* opaque);

  KafkaSource options;
  Owned<rd_kafka_conf_t> conf;
  LastError last;
  Context* context = nullptr;
  std::unique_ptr<Client> client;
  Owned<rd_kafka_queue_t> queue;
  /// Behind the last record of each partition that was handed on, and not yet committed.
  std::map<std::int32_t, std::int64_t> positions;
  /// With until_end: the partitions that are not yet read to their ends, and those ends.
  std::map<std::int32_t, std::int64_t> ends;
  bool has_news = false;  // since the last commit at its time
  BootTime commit_at = {};
  bool subscribed = false;
};

void KafkaReader::State::failed(rd_kafka_t*, int, const char* reason, void* opaque) {
  static_cast<State*>(opaque)->last.set(reason);
}
// From a thread of librdkafka's.
void KafkaReader::State::woken(rd_kafka_t*, void* opaque) { static_cast<Worker*>(opaque)->parker().wake(); }

void KafkaReader::State::open() {
  rd_kafka_conf_set_opaque(conf.get(), this);
  rd_kafka_conf_set_error_cb(conf.get(), failed);
  rd_kafka_conf_set_rebalance_cb(conf.get(), rebalanced);
  client = std::make_unique<Client>(RD_KAFKA_CONSUMER, std::move(conf));
  const auto metadata =
      topic_metadata(*context, client->get(), options.brokers, options.topic, options.connect_timeout, last);
  if (!metadata) return;
  if (rd_kafka_poll_set_consumer(client->get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw KafkaError("ebb: Kafka's consumer has no queue");
  }
  queue.reset(rd_kafka_queue_get_consumer(client->get()));
  rd_kafka_queue_cb_event_enable(queue.get(), woken, &context->worker());
  commit_at = BootClock::now() + options.commit_every;
  if (assigns()) {
    assign_all(*metadata);
  } else {
    subscribe();
  }
}

void KafkaReader::State::subscribe() {
  const Owned<rd_kafka_topic_partition_list_t> topics(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(topics.get(), options.topic.c_str(), RD_KAFKA_PARTITION_UA);
  if (const auto error = rd_kafka_subscribe(client->get(), topics.get());
      error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw KafkaError("ebb: cannot subscribe to Kafka topic '" + options.topic +
                     "': " + rd_kafka_err2str(error));
  }
  subscribed = true;
}

void KafkaReader::State::assign_all(const rd_kafka_metadata_t& metadata) {
  const rd_kafka_metadata_topic_t& topic = metadata.topics[0];
  const Owned<rd_kafka_topic_partition_list_t> all(rd_kafka_topic_partition_list_new(topic.partition_cnt));
  const BootTime deadline = BootClock::now() + options.connect_timeout;
  for (int i = 0; i < topic.partition_cnt; ++i) {
    const std::int32_t partition = topic.partitions[i].id;
    auto* added = rd_kafka_topic_partition_list_add(all.get(), options.topic.c_str(), partition);
    added->offset = RD_KAFKA_OFFSET_INVALID;
    if (!options.until_end) continue;
    std::int64_t low = 0, high = 0;
    const rd_kafka_resp_err_t error = ask_until(
        *context, deadline, [&] { return is_ending(); },
        [&](int ms) {
          return rd_kafka_query_watermark_offsets(client->get(), options.topic.c_str(), partition, &low,
                                                  &high, ms);
        });
    if (error == RD_KAFKA_RESP_ERR__INTR) return;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw KafkaError("ebb: cannot find the end of Kafka topic '" + options.topic + "', partition " +
                       std::to_string(partition) + ": " + rd_kafka_err2str(error));
    }
    if (high > low) ends[partition] = high;
  }
  if (commits()) {
    // Asked for here, and not by the client when it begins: that one would not ask again for minutes where a
    // broker answers that the group is another one's.
    const rd_kafka_resp_err_t error = ask_until(
        *context, deadline, [&] { return is_ending(); },
        [&](int ms) { return rd_kafka_committed(client->get(), all.get(), ms); });
    if (error == RD_KAFKA_RESP_ERR__INTR) return;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw KafkaError("ebb: cannot find what Kafka group '" + options.group +
                       "' has read: " + rd_kafka_err2str(error));
    }
  }
  for (int i = 0; i < all->cnt; ++i) {
    if (all->elems[i].offset >= 0) continue;
    all->elems[i].offset = options.from_beginning ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
  }
  if (const auto error = rd_kafka_assign(client->get(), all.get()); error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw KafkaError("ebb: cannot read Kafka topic '" + options.topic + "': " + rd_kafka_err2str(error));
  }
}

void KafkaReader::State::rebalanced(rd_kafka_t* client, rd_kafka_resp_err_t what,
                                    rd_kafka_topic_partition_list_t* partitions, void* opaque) {
  State& self = *static_cast<State*>(opaque);
  const bool gradual = std::string_view(rd_kafka_rebalance_protocol(client)) == "COOPERATIVE";
  if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    if (gradual) {
      const Owned<rd_kafka_error_t> ignored(rd_kafka_incremental_assign(client, partitions));
    } else {
      (void)rd_kafka_assign(client, partitions);
    }
    return;
  }
  // Another one reads on where the group has committed. What was not is read twice; committing it later would
  // take back what that one commits.
  if (self.options.commit_every.count() > 0 && rd_kafka_assignment_lost(client) == 0 &&
      !self.positions.empty()) {
    (void)rd_kafka_commit(client, self.taken().get(), 1);
  }
  for (int i = 0; i < partitions->cnt; ++i) self.positions.erase(partitions->elems[i].partition);
  if (gradual) {
    const Owned<rd_kafka_error_t> ignored(rd_kafka_incremental_unassign(client, partitions));
  } else {
    (void)rd_kafka_assign(client, nullptr);
  }
}

// Until something is in the queue, or the pipeline is to end.
void KafkaReader::State::wait_for(rd_kafka_queue_t* in, Duration most, Doing doing) const {
  (void)context->worker().wait_until(BootClock::now() + most, doing, &context->name(),
                                     [&] { return rd_kafka_queue_length(in) > 0 || is_ending(); });
}

std::optional<KafkaRecord> KafkaReader::State::next() {
  if (!queue) return std::nullopt;  // it was told to end before it had begun
  while (!is_ending()) {
    if (options.until_end && ends.empty()) return std::nullopt;
    const Owned<rd_kafka_message_t> message(rd_kafka_consumer_poll(client->get(), 0));
    commit_at_times();
    if (!message) {
      wait_for(queue.get(),
               options.commit_every.count() > 0 ? std::min(kLookUp, options.commit_every) : kLookUp,
               Doing::waiting);
      continue;
    }
    if (!is_wanted(*message)) continue;
    KafkaRecord record = record_of(*message);
    has_news = true;
    positions[record.partition] = record.offset + 1;  // whoever called hands it on at once
    note_end(record.partition, record.offset + 1);
    return record;
  }
  return std::nullopt;
}

// Whether it is a record that was asked for.
bool KafkaReader::State::is_wanted(const rd_kafka_message_t& message) {
  if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
    note_end(message.partition, message.offset);
    return false;
  }
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    check(message);
    return false;
  }
  if (!options.until_end) return true;
  const auto end = ends.find(message.partition);
  if (end == ends.end()) return false;
  note_end(message.partition, message.offset);
  return ends.contains(message.partition);
}

// What comes next in this partition has at least this offset. Offsets have gaps: the last may be missing.
void KafkaReader::State::note_end(std::int32_t partition, std::int64_t next) {
  const auto end = ends.find(partition);
  if (end != ends.end() && next >= end->second) ends.erase(end);
}

// A connection that is lost is found again by librdkafka; what stays wrong fails the pipeline.
void KafkaReader::State::check(const rd_kafka_message_t& message) const {
  if (!is_final(message.err)) return;
  std::array<char, 512> why{};
  std::string what = rd_kafka_message_errstr(&message);
  if (rd_kafka_fatal_error(client->get(), why.data(), why.size()) != RD_KAFKA_RESP_ERR_NO_ERROR)
    what = why.data();
  throw KafkaError("ebb: Kafka topic '" + options.topic + "' at " + options.brokers + ": " + what);
}

Owned<rd_kafka_topic_partition_list_t> KafkaReader::State::taken() const {
  Owned<rd_kafka_topic_partition_list_t> list(
      rd_kafka_topic_partition_list_new(static_cast<int>(positions.size())));
  for (const auto& [partition, offset] : positions) {
    rd_kafka_topic_partition_list_add(list.get(), options.topic.c_str(), partition)->offset = offset;
  }
  return list;
}

void KafkaReader::State::commit_at_times() {
  if (!commits() || options.commit_every.count() == 0 || BootClock::now() < commit_at) return;
  commit_at = BootClock::now() + options.commit_every;
  // Whether it has worked is seen at the next time, and at the end.
  if (std::exchange(has_news, false)) (void)rd_kafka_commit(client->get(), taken().get(), 1);
}

void KafkaReader::State::commit_now() {
  if (!commits() || !client || positions.empty()) return;
  const Owned<rd_kafka_queue_t> answers(rd_kafka_queue_new(client->get()));
  rd_kafka_queue_cb_event_enable(answers.get(), woken, &context->worker());
  const BootTime deadline = BootClock::now() + kCommitTimeout;
  const rd_kafka_resp_err_t error = ask_until(
      *context, deadline, [&] { return context->worker().run().halted(); },
      [&](int) {
        const auto sent =
            rd_kafka_commit_queue(client->get(), taken().get(), answers.get(), nullptr, nullptr);
        if (sent != RD_KAFKA_RESP_ERR_NO_ERROR) return sent;
        (void)context->worker().wait_until(deadline, Doing::closing, &context->name(),
                                           [&] { return rd_kafka_queue_length(answers.get()) > 0; });
        const Owned<rd_kafka_event_t> event(rd_kafka_queue_poll(answers.get(), 0));
        return event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT;
      });
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw KafkaError("ebb: Kafka group '" + options.group + "' at " + options.brokers +
                     " did not take what was read, which will be read again: " + rd_kafka_err2str(error) +
                     last.text());
  }
  positions.clear();
}

// Tells the group, so that its other members need not wait until it is missed; for a while at most.
void KafkaReader::State::leave() noexcept {
  if (!client || !subscribed) return;
  const Owned<rd_kafka_queue_t> events(rd_kafka_queue_new(client->get()));
  rd_kafka_queue_cb_event_enable(events.get(), woken, &context->worker());
  const Owned<rd_kafka_error_t> refused(rd_kafka_consumer_close_queue(client->get(), events.get()));
  if (refused) return;
  const BootTime deadline = BootClock::now() + kLeaveTimeout;
  while (rd_kafka_consumer_closed(client->get()) == 0) {
    const Duration left = deadline - BootClock::now();
    if (left <= Duration::zero()) return;
    const Owned<rd_kafka_event_t> event(rd_kafka_queue_poll(events.get(), milliseconds(left)));
    if (event && rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_REBALANCE) {
      (void)rd_kafka_assign(client->get(), nullptr);
    }
  }
}

KafkaReader::KafkaReader(KafkaSource options) : state_(std::make_unique<State>(std::move(options))) {}
KafkaReader::KafkaReader(KafkaReader&&) noexcept = default;
KafkaReader& KafkaReader::operator=(KafkaReader&&) noexcept = default;
KafkaReader::~KafkaReader() = default;

void KafkaReader::open(Context& context) {
  state_->context = &context;
  state_->open();
}
std::optional<KafkaRecord> KafkaReader::operator()() {
  try {
    return state_->next();
  } catch (const KafkaError& error) {
    fail_run(*state_->context, error.what());
    return std::nullopt;
  }
}
void KafkaReader::commit() { state_->commit_now(); }
void KafkaReader::abort() {}
void KafkaReader::close() {
  state_->leave();
  state_->queue.reset();
  state_->client.reset();
}

}  // namespace ebb::flow

namespace ebb {

flow::KafkaReader source_of(KafkaSource options) { return flow::KafkaReader(std::move(options)); }

}  // namespace ebb
