#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unordered_map>

#include "ebb/base/clock.h"

namespace ebb::daemon {

/// Coroutines that wait for something to happen to a key (a job, the journal). One thread.
template <typename Key>
class Waiters {
 public:
  explicit Waiters(boost::asio::io_context& io) : io_(io) {}

  /// Resumes at the next wake(key), or when `wait` has passed. Whoever resumes looks again for itself.
  boost::asio::awaitable<void> wait(Key key, Duration wait) {
    boost::asio::steady_timer timer(io_);
    timer.expires_after(wait);
    const auto entry = timers_.emplace(key, &timer);
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    timers_.erase(entry);
  }
  void wake(const Key& key) {
    const auto [first, last] = timers_.equal_range(key);
    for (auto at = first; at != last; ++at) at->second->cancel();
  }

 private:
  boost::asio::io_context& io_;
  std::unordered_multimap<Key, boost::asio::steady_timer*> timers_;
};

}  // namespace ebb::daemon
