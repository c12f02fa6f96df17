#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "bell.h"
#include "ebb/base/unique_fd.h"

namespace ebb::client {

/// Writes to stdout or stderr without ever blocking the thread, however slow the reader is, and without
/// changing the descriptor for those who share it. One coroutine waits in drain() at a time.
class Output {
 public:
  /// `fd` stays the caller's; `on_closed` is called once, with the errno of the write that failed: EPIPE
  /// where nobody reads any more.
  Output(boost::asio::io_context& io, int fd, std::function<void(int error)> on_closed);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view bytes);
  /// Waits until at most `left` bytes are still to be written, or nobody reads.
  [[nodiscard]] Task<void> drain(std::size_t left);
  /// It cannot be written: what comes is thrown away.
  [[nodiscard]] bool closed() const noexcept { return closed_; }

 private:
  enum class Way { file, socket, own };  ///< own: a description of ours, non-blocking
  void flush();
  [[nodiscard]] ssize_t write_some() const;
  void wait_writable();

  boost::asio::io_context& io_;
  int fd_;
  UniqueFd own_;
  UniqueFd writable_;  ///< an epoll descriptor, readable when fd_ can be written
  std::optional<boost::asio::posix::stream_descriptor> waiter_;
  Way way_ = Way::file;
  std::string queue_;
  std::size_t written_ = 0;  ///< of queue_
  bool waiting_ = false;
  bool closed_ = false;
  std::function<void(int error)> on_closed_;
  Bell drained_;
};

}  // namespace ebb::client
