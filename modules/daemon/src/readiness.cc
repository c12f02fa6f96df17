#include "readiness.h"

#include <algorithm>
#include <boost/asio.hpp>

#include "ebb/base/units.h"
#include "ebb/process/socket_owner.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

// A probe that hangs must not outlive its usefulness.
constexpr Duration kProbeTimeout = 2s;
constexpr std::size_t kMostAnswer = 4096;
// How long a listener may be without a process, before it is called a stranger's: that of a process that has
// ended goes a moment after it, and one of the job itself is not known for its own any more by then.
constexpr Duration kWithoutHolder = 1s;

Error start_error(std::string message) {
  return Error{.code = Errc::unavailable, .message = std::move(message), .pointer = {}, .type = {}};
}

// The status of an HTTP answer's first line; 0 where it is none.
int status_of(const std::string& answer) {
  if (!answer.starts_with("HTTP/1.") || answer.size() < 12 || answer[8] != ' ') return 0;
  int status = 0;
  for (std::size_t i = 9; i < 12; ++i) {
    if (answer[i] < '0' || answer[i] > '9') return 0;
    status = status * 10 + (answer[i] - '0');
  }
  return status;
}

// Where to reach a listener from this host.
std::string address_of(const Listener& listener) {
  if (listener.address == "0.0.0.0") return "127.0.0.1";
  if (listener.address == "::") return "::1";
  return listener.address;
}

}  // namespace

class Readiness::Prober : public std::enable_shared_from_this<Prober> {
 public:
  Prober(asio::io_context& io, Question question, Answer answer)
      : io_(io), pause_(io), overall_(io), question_(std::move(question)), answer_(std::move(answer)) {}

  void begin() {
    overall_.expires_after(question_.timeout);
    overall_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
      if (!failure) self->finish(start_error(self->timeout_text()));
    });
    asio::post(io_, [self = shared_from_this()] { self->look(); });
  }

  void stop() {
    answer_ = nullptr;
    pause_.cancel();
    overall_.cancel();
    if (probe_) probe_->close();
  }

 private:
  struct Probe {
    explicit Probe(asio::io_context& io) : socket(io), limit(io) {}
    tcp::socket socket;
    asio::steady_timer limit;
    std::string request;
    std::string answer;
    void close() {
      boost::system::error_code ignored;
      socket.close(ignored);
      limit.cancel();
    }
  };

  void look() {
    if (!answer_) return;
    const auto port = static_cast<std::uint16_t>(question_.port);
    auto listeners = tcp_listeners(port, port);
    if (!listeners) {
      last_ = listeners.error().message;
      return again();
    }
    if (listeners->empty()) {
      ownerless_since_.reset();
      last_ = "nothing listens on port " + std::to_string(question_.port);
      return again();
    }
    for (const Listener& listener : *listeners) {
      if (!question_.is_own(listener)) return strange(listener);
    }
    ownerless_since_.reset();
    probe(listeners->front());
  }

  // Not of the job, as far as can be seen.
  void strange(const Listener& listener) {
    const process::SocketHolder holder = process::find_holder(listener);
    std::string why = "port " + std::to_string(question_.port) + " is taken on " + listener.address +
                      " by a process that is not of this job: " + process::describe(holder);
    const BootTime now = BootClock::now();
    if (!ownerless_since_) ownerless_since_ = now;
    if (holder.pid != 0 || now - *ownerless_since_ >= kWithoutHolder) {
      return finish(start_error(std::move(why)));
    }
    last_ = std::move(why);
    again();
  }

  void probe(const Listener& listener) {
    boost::system::error_code failure;
    const auto address = asio::ip::make_address(address_of(listener), failure);
    if (failure) return again();
    probe_ = std::make_shared<Probe>(io_);
    const auto self = shared_from_this();
    const auto probe = probe_;
    probe->request = "GET " + question_.path + " HTTP/1.1\r\nHost: " +
                     (address.is_v6() ? "[" + address.to_string() + "]" : address.to_string()) + ":" +
                     std::to_string(question_.port) + "\r\nUser-Agent: ebb\r\nConnection: close\r\n\r\n";
    probe->limit.expires_after(kProbeTimeout);
    probe->limit.async_wait([probe](boost::system::error_code expired) {
      if (!expired) probe->close();
    });
    probe->socket.async_connect(
        {address, static_cast<std::uint16_t>(question_.port)},
        [self, probe](boost::system::error_code error) {
          if (error) return self->failed(probe, "does not accept connections: " + error.message());
          asio::async_write(probe->socket, asio::buffer(probe->request),
                            [self, probe](boost::system::error_code unsent, std::size_t) {
                              if (unsent)
                                return self->failed(probe, "closed the connection: " + unsent.message());
                              self->read(probe);
                            });
        });
  }

  void read(const std::shared_ptr<Probe>& probe) {
    asio::async_read_until(probe->socket, asio::dynamic_buffer(probe->answer, kMostAnswer), "\r\n",
                           [self = shared_from_this(), probe](boost::system::error_code error, std::size_t) {
                             const int status = status_of(probe->answer);
                             if (status == 200) {
                               probe->close();
                               return self->confirm();
                             }
                             if (status != 0)
                               return self->failed(probe, "answered " + std::to_string(status));
                             self->failed(probe, error ? "did not answer: " + error.message()
                                                       : std::string("answered, but not in HTTP"));
                           });
  }

  // Another process may have come to listen beside it meanwhile.
  void confirm() {
    const auto port = static_cast<std::uint16_t>(question_.port);
    const auto listeners = tcp_listeners(port, port);
    if (!listeners || listeners->empty() ||
        !std::all_of(listeners->begin(), listeners->end(), question_.is_own)) {
      return look();
    }
    finish({});
  }

  void failed(const std::shared_ptr<Probe>& probe, const std::string& how) {
    probe->close();
    last_ = "GET " + question_.path + " on port " + std::to_string(question_.port) + " " + how;
    again();
  }

  void again() {
    if (!answer_) return;
    pause_.expires_after(next_);
    next_ = std::min<Duration>(2 * next_, 200ms);
    pause_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
      if (!failure) self->look();
    });
  }

  void finish(Result<void> result) {
    if (!answer_) return;
    const Answer answer = std::exchange(answer_, nullptr);
    stop();
    answer(std::move(result));
  }

  [[nodiscard]] std::string timeout_text() const {
    return "not ready within " + format_duration(question_.timeout) +
           "; last: " + (last_.empty() ? std::string("nothing seen") : last_);
  }

  asio::io_context& io_;
  asio::steady_timer pause_;
  asio::steady_timer overall_;
  Question question_;
  Answer answer_;
  std::shared_ptr<Probe> probe_;
  Duration next_ = 5ms;
  std::optional<BootTime> ownerless_since_;  // while no living process is seen to have a strange listener
  std::string last_;                         // what the latest look showed, for the error at the timeout
};

Readiness::Readiness(asio::io_context& io, Question question, Answer answer)
    : prober_(std::make_shared<Prober>(io, std::move(question), std::move(answer))) {
  prober_->begin();
}
Readiness::~Readiness() { prober_->stop(); }

}  // namespace ebb::daemon
