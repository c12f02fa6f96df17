#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/client/endpoint.h"

namespace ebb::client {

template <typename T>
using Task = boost::asio::awaitable<T>;

struct Request {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, percent-encoded
  std::string body{};        ///< JSON, or empty
  std::string accept = "application/json";
  std::vector<std::pair<std::string, std::string>> headers{};
};

struct Response {
  int status = 0;
  std::string content_type;
  std::string body;
  std::string log_path{};  ///< Ebb-Log-Path: where the daemon keeps the log that this is an answer about
  [[nodiscard]] bool ok() const noexcept { return status >= 200 && status < 300; }
};

/// The Error that an answer other than 2xx stands for: its problem details, else its status in words.
[[nodiscard]] Error error_of(const Response& response);
/// `text` as one part of a path or a query's value.
[[nodiscard]] std::string percent_encoded(std::string_view text);

/// One HTTP/1.1 connection with a daemon; requests one after the other. The thread of its io_context.
/// After an error other than an answer's status it is closed, and every call fails with Errc::unavailable.
class Connection {
 public:
  /// Connects to the first of `candidates` that answers. Errc::unavailable with kNoDaemonType names all that
  /// were tried; Errc::forbidden where a socket is there and may not be opened. `key`: sent as the bearer's
  /// over TCP, never over a socket, where the kernel says who asks.
  [[nodiscard]] static Task<Result<Connection>> connect(boost::asio::io_context& io,
                                                        std::span<const Endpoint> candidates, std::string key,
                                                        Duration deadline = std::chrono::seconds(5));
  Connection(Connection&&) noexcept = default;
  Connection& operator=(Connection&&) noexcept = default;
  ~Connection();

  /// A whole exchange, whatever the status; at most 64 MiB of answer. `deadline` bounds the time to the
  /// answer's head, and again that of its body.
  [[nodiscard]] Task<Result<Response>> exchange(Request request, Duration deadline);

  /// Sends the request and reads the answer's head. 2xx: the body is then read with read_some(), and the
  /// Response has none. Any other status: the whole answer.
  [[nodiscard]] Task<Result<Response>> open(Request request, Duration deadline);
  /// The next bytes of the open body, at least one; empty at its proper end. Errc::timeout when none come
  /// for `idle`; Errc::unavailable when the connection breaks before the end.
  [[nodiscard]] Task<Result<std::string>> read_some(Duration idle);
  /// Sends bytes outside any request, between two calls of read_some(): an owner's sign of life.
  [[nodiscard]] Task<Result<void>> send_raw(std::string bytes);

  /// Ends everything under way: each call that waits returns Errc::unavailable.
  void close() noexcept;
  [[nodiscard]] const Endpoint& endpoint() const noexcept;
  /// Whether another request can be sent on it.
  [[nodiscard]] bool usable() const noexcept;

 private:
  class Impl;
  explicit Connection(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ebb::client
