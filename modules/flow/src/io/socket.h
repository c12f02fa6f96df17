#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "io/input.h"

namespace ebb::flow {

struct SocketAddress {
  std::string host;
  std::string port;

  /// "host:port", "[::1]:port". Throws std::invalid_argument.
  [[nodiscard]] static SocketAddress parse(const std::string& text);
  [[nodiscard]] std::string text() const;
};

/// A TCP connection to this address, or null when a stop was requested meanwhile. Throws IoError when none of
/// the name's addresses answers in time.
[[nodiscard]] std::unique_ptr<Input> connect_to(const SocketAddress& address, Duration timeout,
                                                std::stop_token stop);

/// Waits at an address for TCP connections.
class Listener {
 public:
  /// Throws IoError.
  Listener(const SocketAddress& address, std::stop_token stop);
  /// The next connection, or null when a stop is requested. Throws IoError.
  [[nodiscard]] std::unique_ptr<Input> accept();

 private:
  std::string name_;
  UniqueFd fd_;
  std::stop_token stop_;
  Wake wake_;
};

}  // namespace ebb::flow
