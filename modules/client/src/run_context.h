#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bell.h"
#include "ebb/client/endpoint.h"
#include "ebb/client/http.h"

namespace ebb::client {

/// What the parts of one `ebb run` share. Outlives them.
struct RunContext {
  explicit RunContext(boost::asio::io_context& loop) : io(loop), changed(loop) {}

  [[nodiscard]] Task<Result<Connection>> connect(Duration deadline) {
    co_return co_await Connection::connect(io, endpoints, key, deadline);
  }

  boost::asio::io_context& io;
  std::vector<Endpoint> endpoints;  ///< one, once a daemon was found
  std::string key;
  Bell changed;  ///< rung whenever a part's state has changed
  std::function<void(std::string_view)> say;
};

/// Times between attempts to reach a server that is lost; nothing tells when it is there again.
class Backoff {
 public:
  [[nodiscard]] Duration next() {
    const Duration now = next_;
    next_ = std::min(next_ * 2, Duration(std::chrono::milliseconds(500)));
    return now;
  }
  void reset() { next_ = std::chrono::milliseconds(20); }

 private:
  Duration next_ = std::chrono::milliseconds(20);
};

}  // namespace ebb::client
