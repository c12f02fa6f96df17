#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "ebb/base/clock.h"
#include "message.h"

namespace ebb::server {

/// Wakes one coroutine that waits for any of several things; it then looks for itself what has happened. A
/// notify() before the wait is not lost. One thread.
class Wakeup {
 public:
  explicit Wakeup(boost::asio::io_context& io) : timer_(io) {}

  void notify() {
    pending_ = true;
    timer_.cancel();
  }
  /// Returns at the next notify(), or when `most` has passed.
  Task<void> wait(Duration most) {
    if (!std::exchange(pending_, false)) {
      timer_.expires_after(most);
      boost::system::error_code ignored;
      co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
      pending_ = false;
    }
  }

 private:
  boost::asio::steady_timer timer_;
  bool pending_ = false;
};

}  // namespace ebb::server
