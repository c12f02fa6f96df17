#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "ebb/base/clock.h"
#include "ebb/client/http.h"

namespace ebb::client {

/// Wakes those coroutines of one thread that wait for something to have changed; they look for themselves at
/// what it was.
class Bell {
 public:
  explicit Bell(boost::asio::io_context& io) : timer_(io) {}

  void ring() { timer_.cancel(); }
  /// Until the next ring(), or `deadline` at the latest. Only one coroutine waits at a time.
  Task<void> wait(BootTime deadline) {
    const Duration left = deadline - BootClock::now();
    if (left <= Duration(0)) co_return;
    timer_.expires_after(left);
    boost::system::error_code ignored;
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
  Task<void> wait() { return wait(BootClock::now() + std::chrono::hours(24)); }

 private:
  boost::asio::steady_timer timer_;
};

/// Lets this coroutine rest.
inline Task<void> rest(boost::asio::io_context& io, Duration time) {
  boost::asio::steady_timer timer(io, time);
  boost::system::error_code ignored;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

}  // namespace ebb::client
