#include <array>
#include <atomic>
#include <thread>

#include "client.h"
#include "ebb/flow/runtime/worker.h"
#include "ebb/kafka.h"

namespace ebb::flow {
namespace {

// Beyond the time that a record may take, which librdkafka looks at now and then.
constexpr Duration kSpare = std::chrono::seconds(10);
// What a record takes of the queue.
std::int64_t size_of(std::size_t key, std::size_t value) {
  constexpr std::size_t kPerRecord = 256;  // besides its bytes
  return static_cast<std::int64_t>(key + value + kPerRecord);
}

Owned<rd_kafka_conf_t> conf_of(const KafkaSink& options) {
  if (options.brokers.empty() || options.topic.empty()) {
    throw std::invalid_argument("ebb: to_kafka() needs .brokers and .topic");
  }
  const Settings ours{
      {"bootstrap.servers", options.brokers},
      {"enable.idempotence", "true"},  // and with it acks=all and the order
      {"message.timeout.ms", std::to_string(milliseconds(options.delivery_timeout))},
      // The limit is ours, so that a wait for room is one that the pipeline's end ends.
      {"queue.buffering.max.messages", "10000000"},
      {"queue.buffering.max.kbytes", "2147483647"},
  };
  // Keys go to the partitions to which Java's producers send them.
  return make_conf(ours, {{"client.id", "ebb"}, {"partitioner", "murmur2_random"}}, options.settings);
}

using Headers = std::vector<std::pair<std::string, std::string>>;

}  // namespace

/// A producer, from open() to close(). A thread of its own hears of deliveries, so that one that fails is
/// known at once, whether or not a record follows.
class KafkaWriter::State {
 public:
  State(const KafkaSink& options, Context& context)
      : options_(options), context_(context), client_(RD_KAFKA_PRODUCER, with_callbacks(conf_of(options))) {
    if (!topic_metadata(context, client_.get(), options.brokers, options.topic, options.connect_timeout,
                        last_)) {
      return;  // the pipeline is to end
    }
    topic_.reset(rd_kafka_topic_new(client_.get(), options.topic.c_str(), nullptr));
    if (!topic_) throw KafkaError("ebb: there can be no Kafka topic '" + options.topic + "'");
  }

  /// Throws std::runtime_error for a record that cannot be written, KafkaError for anything else.
  void write(std::string_view key, std::optional<std::string_view> value, const Headers& headers) {
    try {
      produce(key, value, headers);
    } catch (const KafkaError& error) {
      fail_run(context_, error.what());  // whatever the policy says; a failure that has been told stays
      throw;
    }
  }

  /// Until the brokers have acknowledged all. Throws KafkaError.
  void flush() {
    const BootTime deadline = BootClock::now() + options_.delivery_timeout + kSpare;
    (void)rd_kafka_flush(client_.get(), 0);  // what lingers for others to go along need not
    (void)context_.worker().wait_until(deadline, Doing::blocked, &options_.topic,
                                       [&] { return failed_.load() || queued_.load() == 0; });
    // A delivery that failed has failed the run already, and says why.
    if (failed_ || context_.worker().run().halted()) return;
    if (queued_.load() != 0) {
      throw KafkaError("ebb: Kafka topic '" + options_.topic + "' at " + options_.brokers +
                       " has not acknowledged all records in time" + last_.text());
    }
  }
  /// Nothing more is sent, and what becomes of it is no matter.
  void purge() noexcept {
    failed_ = true;
    (void)rd_kafka_purge(client_.get(),
                         RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  }

 private:
  void produce(std::string_view key, std::optional<std::string_view> value, const Headers& headers) {
    const std::int64_t size = size_of(key.size(), value ? value->size() : 0);
    const std::int64_t most = std::int64_t{options_.queued_kib} << 10;
    const auto has_room = [&] {
      const std::int64_t queued = queued_.load();
      return failed_.load() || queued == 0 || queued + size <= most;
    };
    if (!has_room()) context_.worker().wait(Doing::blocked, &options_.topic, has_room);
    if (!topic_ || failed_ || context_.worker().run().halted())
      throw KafkaError("ebb: Kafka takes no more records");
    queued_ += size;
    std::array<rd_kafka_vu_t, 5> parts{};
    std::size_t count = 0;
    const auto part = [&](rd_kafka_vtype_t type) -> auto& {
      parts[count].vtype = type;
      return parts[count++].u;
    };
    part(RD_KAFKA_VTYPE_RKT).rkt = topic_.get();
    part(RD_KAFKA_VTYPE_MSGFLAGS).i = RD_KAFKA_MSG_F_COPY;
    if (!key.empty()) part(RD_KAFKA_VTYPE_KEY).mem = {const_cast<char*>(key.data()), key.size()};
    if (value) {
      // What is empty is not null.
      const char* data = value->data() != nullptr ? value->data() : "";
      part(RD_KAFKA_VTYPE_VALUE).mem = {const_cast<char*>(data), value->size()};
    }
    Owned<rd_kafka_headers_t> list;
    if (!headers.empty()) {
      list.reset(rd_kafka_headers_new(headers.size()));
      for (const auto& [name, text] : headers) {
        rd_kafka_header_add(list.get(), name.data(), static_cast<ssize_t>(name.size()), text.data(),
                            static_cast<ssize_t>(text.size()));
      }
    }
    rd_kafka_headers_t* taken = list.release();
    if (taken != nullptr) part(RD_KAFKA_VTYPE_HEADERS).headers = taken;
    const Owned<rd_kafka_error_t> error(rd_kafka_produceva(client_.get(), parts.data(), count));
    if (!error) return;
    list.reset(taken);  // they are the message's only where there is one
    queued_ -= size;
    const std::string what = "ebb: Kafka topic '" + options_.topic +
                             "': a record was not taken: " + rd_kafka_error_string(error.get());
    if (rd_kafka_error_code(error.get()) == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
      throw std::runtime_error(what);
    throw KafkaError(what);
  }

  Owned<rd_kafka_conf_t> with_callbacks(Owned<rd_kafka_conf_t> conf) {
    rd_kafka_conf_set_opaque(conf.get(), this);
    rd_kafka_conf_set_dr_msg_cb(conf.get(), delivered);
    rd_kafka_conf_set_error_cb(conf.get(), complained);
    return conf;
  }
  // Called where poll() is: on our thread below, and now and then on the operator's.
  static void delivered(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    State& self = *static_cast<State*>(opaque);
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) self.fail(rd_kafka_err2str(message->err));
    self.queued_ -= size_of(message->key_len, message->len);
    self.context_.worker().parker().wake();
  }
  static void complained(rd_kafka_t* client, int, const char* reason, void* opaque) {
    State& self = *static_cast<State*>(opaque);
    self.last_.set(reason);
    std::array<char, 512> why{};
    if (rd_kafka_fatal_error(client, why.data(), why.size()) != RD_KAFKA_RESP_ERR_NO_ERROR)
      self.fail(why.data());
    self.context_.worker().parker().wake();
  }
  void listen(const std::stop_token& stop) {
    const std::stop_callback wakes(stop, [&] { rd_kafka_queue_yield(events_.get()); });
    while (!stop.stop_requested()) (void)rd_kafka_poll(client_.get(), -1);
  }
  void fail(const char* why) {
    if (failed_.exchange(true)) return;
    fail_run(context_, "ebb: Kafka topic '" + options_.topic + "' at " + options_.brokers +
                           ": a record was not delivered: " + why + last_.text());
  }

  const KafkaSink& options_;
  Context& context_;
  LastError last_;
  std::atomic<std::int64_t> queued_{0};  // bytes that are not yet acknowledged
  std::atomic<bool> failed_{false};
  Client client_;  // its callbacks use what stands above
  Owned<rd_kafka_queue_t> events_{rd_kafka_queue_get_main(client_.get())};
  Owned<rd_kafka_topic_t> topic_;
  std::jthread listener_{[this](const std::stop_token& stop) { listen(stop); }};
};

KafkaWriter::KafkaWriter(KafkaSink options)
    : options_(std::make_shared<const KafkaSink>(std::move(options))) {
  (void)conf_of(*options_);
}
KafkaWriter::KafkaWriter(const KafkaWriter& other) : options_(other.options_) {}
KafkaWriter::KafkaWriter(KafkaWriter&&) noexcept = default;
KafkaWriter::~KafkaWriter() = default;

void KafkaWriter::open(Context& context) { state_ = std::make_unique<State>(*options_, context); }

void KafkaWriter::write(const KafkaRecord& record) {
  std::optional<std::string_view> value;
  if (!record.tombstone) value = record.value;
  state_->write(record.key, value, record.headers);
}
void KafkaWriter::write(std::string_view key, std::string_view value) { state_->write(key, value, {}); }
void KafkaWriter::finish() { state_->flush(); }
void KafkaWriter::commit() { state_->flush(); }
void KafkaWriter::abort() {
  if (state_) state_->purge();
}
void KafkaWriter::close() { state_.reset(); }

}  // namespace ebb::flow

namespace ebb {

flow::KafkaWriter to_kafka(KafkaSink options) { return flow::KafkaWriter(std::move(options)); }

}  // namespace ebb
