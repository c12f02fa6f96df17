#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ebb/base/clock.h"

namespace ebb {

class Context;

struct LinesOptions {
  std::size_t max_line = std::size_t{16} << 20;  ///< bytes; a longer line is an error
};

struct SocketOptions {
  /// Waits for connections at the address instead of connecting to it, and takes one after the other, until
  /// the pipeline is to end.
  bool listen = false;
  Duration connect_timeout = std::chrono::seconds(10);
  std::size_t max_line = std::size_t{16} << 20;  ///< bytes; a longer line is an error
};

namespace flow {

/// "host:port"; an IPv6 address gets its brackets.
[[nodiscard]] std::string address_of(const std::string& host, int port);

/// The lines of a file or of a TCP connection, without their ends. What the operating system refuses fails
/// the pipeline whatever the error policy says; a line that is too long is a record that is in error.
class LineSource {
 public:
  static constexpr bool kGoesOn = true;  ///< behind a record that is in error

  LineSource(std::string path, const LinesOptions& options);
  /// Throws std::invalid_argument where it is no host:port.
  LineSource(const std::string& address, const SocketOptions& options);
  LineSource(LineSource&&) noexcept;
  LineSource& operator=(LineSource&&) noexcept;
  LineSource(const LineSource&) = delete;
  LineSource& operator=(const LineSource&) = delete;
  ~LineSource();

  void open(Context& context);
  /// Waits for one line at least, and gives with it what came along. Valid until the next call.
  std::span<std::string> batch(std::size_t limit);
  void close();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace flow
}  // namespace ebb
