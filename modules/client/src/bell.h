#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <set>
#include <utility>

#include "ebb/base/clock.h"
#include "ebb/client/http.h"

namespace ebb::client {

/// Wakes those coroutines of one thread that wait for something to have changed; they look for themselves at
/// what it was. It may go while they wait.
class Bell {
 public:
  explicit Bell(boost::asio::io_context& io) : io_(io) {}

  void ring() {
    for (boost::asio::steady_timer* const timer : *waiting_) timer->cancel();
  }
  /// Until the next ring(), or `deadline` at the latest, which is at most 100 years away: a timer's
  /// nanoseconds do not reach BootTime::max().
  Task<void> wait(BootTime deadline) {
    const Duration left = deadline - BootClock::now();
    if (left <= Duration(0)) co_return;
    boost::asio::steady_timer timer(io_, left);
    const Listed listed(waiting_, timer);
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
  Task<void> wait() { return wait(BootClock::now() + std::chrono::hours(24)); }

 private:
  using Waiting = std::set<boost::asio::steady_timer*>;
  class Listed {
   public:
    Listed(std::shared_ptr<Waiting> waiting, boost::asio::steady_timer& timer)
        : waiting_(std::move(waiting)), timer_(&timer) {
      waiting_->insert(timer_);
    }
    ~Listed() { waiting_->erase(timer_); }
    Listed(const Listed&) = delete;
    Listed& operator=(const Listed&) = delete;

   private:
    std::shared_ptr<Waiting> waiting_;
    boost::asio::steady_timer* timer_;
  };

  boost::asio::io_context& io_;
  std::shared_ptr<Waiting> waiting_ = std::make_shared<Waiting>();
};

/// Lets this coroutine rest.
inline Task<void> rest(boost::asio::io_context& io, Duration time) {
  boost::asio::steady_timer timer(io, time);
  boost::system::error_code ignored;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

}  // namespace ebb::client
