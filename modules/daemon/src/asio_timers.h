#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <unordered_map>

#include "ebb/lifecycle/timers.h"

namespace ebb::daemon {

/// lifecycle's timers over the event loop. Dropped with all that is pending.
class AsioTimers final : public lifecycle::Timers {
 public:
  explicit AsioTimers(boost::asio::io_context& io) : io_(io) {}

  Token after(Duration delay, std::function<void()> call) override {
    const Token token = ++last_;
    auto [at, added] = timers_.try_emplace(token, io_);
    at->second.expires_after(delay);
    at->second.async_wait([this, token, call = std::move(call)](boost::system::error_code failure) {
      if (failure) return;
      timers_.erase(token);
      call();
    });
    return token;
  }
  void cancel(Token token) noexcept override { timers_.erase(token); }

 private:
  boost::asio::io_context& io_;
  Token last_ = kNone;
  std::unordered_map<Token, boost::asio::steady_timer> timers_;
};

}  // namespace ebb::daemon
