#include "ebb/devices/nvml_client.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <vector>

#include "ebb/base/units.h"
#include "ebb/devices/nvml_protocol.h"
#include "errors.h"
#include "nvml_helper.h"

namespace ebb::devices {
namespace {

constexpr int kMaxStuck = 3;               // helpers in the driver for good; a fourth would not do better
constexpr std::size_t kMaxWaiting = 4096;  // calls in the queue

}  // namespace

class NvmlClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& loop, std::filesystem::path program)
      : loop_(loop), program_(std::move(program)), timer_(loop) {}

  using Done = std::function<void(Result<nvml::Payload>)>;

  void ask(std::string uuid, Duration deadline, Done done) {
    if (waiting_.size() >= kMaxWaiting) {
      later(std::move(done), fail(Errc::exhausted, "too many questions to the GPU driver are waiting"));
      return;
    }
    waiting_.push_back({.uuid = std::move(uuid), .deadline = deadline, .done = std::move(done)});
    if (busy_) return;
    busy_ = true;
    boost::asio::post(loop_, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->next();
    });
  }

  void close() {
    waiting_.clear();
    current_ = {};
    timer_.cancel();
    // Where the loop runs on, the helpers' handlers keep them until they are reaped; where it does not, they
    // are destroyed with it.
    if (helper_) std::exchange(helper_, nullptr)->retire({});
  }

  [[nodiscard]] int stuck() const { return stuck_; }
  [[nodiscard]] pid_t helper_pid() const { return helper_ ? helper_->pid() : 0; }

 private:
  struct Call {
    std::string uuid;
    Duration deadline{};
    Done done;
  };

  void later(Done done, Error error) {
    boost::asio::post(loop_, [weak = weak_from_this(), done = std::move(done), error = std::move(error)] {
      if (!weak.expired()) done(error);
    });
  }

  // Starts the first call of the queue; busy_ holds meanwhile, so that a callback that asks again only
  // queues.
  void next() {
    while (!waiting_.empty()) {
      current_ = std::move(waiting_.front());
      waiting_.pop_front();
      auto ready = ensure_helper();
      if (ready) {
        begin();
        return;
      }
      std::exchange(current_, {}).done(std::move(ready).error());
    }
    busy_ = false;
  }

  Result<void> ensure_helper() {
    if (helper_) return {};
    if (stuck_ >= kMaxStuck) {
      return fail(Errc::exhausted, std::to_string(stuck_) +
                                       " helpers are stuck in the GPU driver and cannot be killed; the "
                                       "machine needs a driver reload or a restart ('dmesg' tells more)");
    }
    auto started = NvmlHelper::start(loop_, program_);
    if (!started) return std::move(started).error();
    helper_ = std::move(*started);
    return {};
  }

  void begin() {
    const std::uint64_t id = ++last_id_;
    timer_.expires_after(current_.deadline);
    timer_.async_wait([weak = weak_from_this(), id](const boost::system::error_code& error) {
      auto self = weak.lock();
      if (!error && self && self->last_id_ == id && self->current_.done) self->timed_out();
    });
    helper_->ask(nvml::write_request({.id = id, .uuid = current_.uuid}),
                 [weak = weak_from_this(), id](Result<std::string> answer) {
                   auto self = weak.lock();
                   if (self && self->last_id_ == id && self->current_.done) self->answered(std::move(answer));
                 });
  }

  void timed_out() {
    const std::string text = "the GPU driver has not answered for " + format_duration(current_.deadline);
    // Settled first: retire() ends the pending ask with an error of its own.
    auto call = std::exchange(current_, {});
    drop_hanging_helper();
    conclude(std::move(call), fail(Errc::timeout, text));
  }

  void answered(Result<std::string> text) {
    timer_.cancel();
    auto call = std::exchange(current_, {});
    auto payload = read(std::move(text), call);
    // An ended or confused helper is of no use, and after the driver's own error NVML may need a fresh start.
    if (!payload && payload.error().code != Errc::not_found) drop_helper();
    conclude(std::move(call), std::move(payload));
  }

  Result<nvml::Payload> read(Result<std::string> text, const Call& call) const {
    if (!text) return std::move(text).error();
    auto answer = nvml::parse_answer(*text);
    if (!answer) return std::move(answer).error();
    const bool is_list = answer->payload && std::holds_alternative<NvmlList>(*answer->payload);
    if (answer->id != last_id_ || (answer->payload && is_list != call.uuid.empty())) {
      return fail(Errc::corrupt, "ebb-nvml answered another question than was asked");
    }
    return std::move(answer->payload);
  }

  void drop_helper() {
    if (helper_) std::exchange(helper_, nullptr)->retire({});
  }

  // Counts as stuck until it is seen to be gone, which usually takes a moment only.
  void drop_hanging_helper() {
    if (!helper_) return;
    ++stuck_;
    std::exchange(helper_, nullptr)->retire([weak = weak_from_this()] {
      if (auto self = weak.lock()) --self->stuck_;
    });
  }

  void conclude(Call call, Result<nvml::Payload> payload) {
    call.done(std::move(payload));  // may destroy the client: then close() has emptied the queue
    next();
  }

  boost::asio::io_context& loop_;
  std::filesystem::path program_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<NvmlHelper> helper_;
  std::deque<Call> waiting_;
  Call current_;  // `done` is empty when no answer is awaited
  bool busy_ = false;
  int stuck_ = 0;
  std::uint64_t last_id_ = 0;
};

NvmlClient::NvmlClient(boost::asio::io_context& loop, std::filesystem::path helper)
    : impl_(std::make_shared<Impl>(loop, std::move(helper))) {}

NvmlClient::~NvmlClient() { impl_->close(); }

void NvmlClient::list(Duration deadline, std::function<void(Result<NvmlList>)> done) {
  impl_->ask({}, deadline, [done = std::move(done)](Result<nvml::Payload> payload) {
    done(payload ? Result<NvmlList>(std::get<NvmlList>(std::move(*payload)))
                 : Result<NvmlList>(std::move(payload).error()));
  });
}

void NvmlClient::usage(const std::string& uuid, Duration deadline,
                       std::function<void(Result<GpuUsage>)> done) {
  // An empty one would ask for the list.
  impl_->ask(uuid.empty() ? "none" : uuid, deadline, [done = std::move(done)](Result<nvml::Payload> payload) {
    done(payload ? Result<GpuUsage>(std::get<GpuUsage>(std::move(*payload)))
                 : Result<GpuUsage>(std::move(payload).error()));
  });
}

int NvmlClient::stuck() const { return impl_->stuck(); }
pid_t NvmlClient::helper_pid() const { return impl_->helper_pid(); }

}  // namespace ebb::devices
