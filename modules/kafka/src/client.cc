#include "client.h"

#include <algorithm>
#include <array>

#include "ebb/flow/runtime/made.h"
#include "ebb/flow/runtime/worker.h"

namespace ebb::flow {
namespace {

// How long one of librdkafka's calls blocks, which nothing can end from outside: an end is heard after it. A
// broker that is there but slow needs more than one that is not.
constexpr Duration kSlice = std::chrono::milliseconds(100);
constexpr Duration kLongestSlice = std::chrono::seconds(5);

void no_log(const rd_kafka_t*, int, const char*, const char*) {}

// Nothing was asked, or it may be asked again.
bool is_passing(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:  // one broker's; the others are asked too
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:  // it may be on its way
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool is_ending(Context& context) noexcept {
  return context.worker().run().halted() ||
         (context.worker().is_source() && context.worker().stop_requested());
}

Owned<rd_kafka_conf_t> make_conf(const Settings& ours, Settings defaults, const Settings& theirs) {
  for (const auto& [name, value] : theirs) {
    if (ours.contains(name)) {
      throw std::invalid_argument("ebb: Kafka's setting '" + name +
                                  "' is Ebb's own: it is an option, or what its promises need");
    }
    defaults[name] = value;
  }
  defaults.insert(ours.begin(), ours.end());
  Owned<rd_kafka_conf_t> conf(rd_kafka_conf_new());
  rd_kafka_conf_set_log_cb(conf.get(), no_log);
  for (const auto& [name, value] : defaults) {
    std::array<char, 512> why{};
    if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), why.data(), why.size()) !=
        RD_KAFKA_CONF_OK) {
      throw std::invalid_argument("ebb: Kafka's setting '" + name + "': " + why.data());
    }
  }
  return conf;
}

void LastError::set(std::string text) {
  const std::lock_guard lock(mutex_);
  text_ = std::move(text);
}
std::string LastError::text() const {
  const std::lock_guard lock(mutex_);
  return text_.empty() ? "" : ": " + text_;
}

Client::Client(rd_kafka_type_t type, Owned<rd_kafka_conf_t> conf) {
  std::array<char, 512> why{};
  rd_kafka_conf_t* taken = conf.release();
  handle_ = rd_kafka_new(type, taken, why.data(), why.size());
  if (handle_ != nullptr) return;
  conf.reset(taken);  // it is the handle's only where there is one
  throw KafkaError(std::string("ebb: no Kafka client: ") + why.data());
}
Client::~Client() {
  if (handle_ != nullptr) rd_kafka_destroy_flags(handle_, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

rd_kafka_resp_err_t ask_until(Context& context, BootTime deadline, const std::function<bool()>& ending,
                              const std::function<rd_kafka_resp_err_t(int)>& ask) {
  for (Duration slice = kSlice;;) {
    const BootTime begun = BootClock::now();
    const rd_kafka_resp_err_t error = ask(milliseconds(slice));
    if (!is_passing(error)) return error;
    if (ending()) return RD_KAFKA_RESP_ERR__INTR;
    if (BootClock::now() >= deadline) return error;
    if (error == RD_KAFKA_RESP_ERR__TIMED_OUT) slice = std::min(2 * slice, kLongestSlice);
    // An answer that came at once would come at once again.
    (void)context.worker().wait_until(std::min(deadline, begun + kSlice), Doing::opening, &context.name(),
                                      ending);
  }
}

Owned<const rd_kafka_metadata_t> topic_metadata(Context& context, rd_kafka_t* client,
                                                const std::string& brokers, const std::string& topic,
                                                Duration timeout, const LastError& last) {
  const Owned<rd_kafka_topic_t> handle(rd_kafka_topic_new(client, topic.c_str(), nullptr));
  if (!handle) throw KafkaError("ebb: there can be no Kafka topic '" + topic + "'");
  Owned<const rd_kafka_metadata_t> metadata;
  bool answered = false;
  const rd_kafka_resp_err_t error = ask_until(
      context, BootClock::now() + timeout, [&] { return is_ending(context); },
      [&](int ms) {
        (void)rd_kafka_poll(client, 0);  // for what it has to say of its connections
        const rd_kafka_metadata_t* got = nullptr;
        const rd_kafka_resp_err_t failed = rd_kafka_metadata(client, 0, handle.get(), &got, ms);
        if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) return failed;
        answered = true;
        metadata.reset(got);
        return got->topic_cnt == 1 ? got->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
      });
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return metadata;
  if (error == RD_KAFKA_RESP_ERR__INTR) return nullptr;
  (void)rd_kafka_poll(client, 0);
  const std::string within = " within " + std::to_string(milliseconds(timeout)) + " ms";
  if (!answered) throw KafkaError("ebb: no Kafka broker at " + brokers + " answered" + within + last.text());
  throw KafkaError("ebb: Kafka topic '" + topic + "' at " + brokers + ": " + rd_kafka_err2str(error) +
                   within);
}

int milliseconds(Duration duration) noexcept {
  constexpr std::chrono::milliseconds kMost = std::chrono::hours(24);
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(duration);
  return static_cast<int>(std::clamp(rounded, std::chrono::milliseconds(0), kMost).count());
}

void fail_run(Context& context, const std::string& what) noexcept {
  context.worker().run().fail(context.name(), made_error<KafkaError>(what));
}

}  // namespace ebb::flow
