#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "ebb/base/result.h"

namespace ebb::devices {

/// One running ebb-nvml: its process and the socket that is its stdin and stdout. The destructor kills it,
/// and reaps it if it goes within a moment.
class NvmlHelper : public std::enable_shared_from_this<NvmlHelper> {
 public:
  [[nodiscard]] static Result<std::shared_ptr<NvmlHelper>> start(boost::asio::io_context& loop,
                                                                 const std::filesystem::path& program);
  NvmlHelper(const NvmlHelper&) = delete;
  NvmlHelper& operator=(const NvmlHelper&) = delete;
  ~NvmlHelper();

  /// Sends one request and calls `done` with a whole answer, or with why there is none: unavailable (it
  /// ended), corrupt (it says too much). One at a time. Keeps the helper alive until then.
  void ask(std::string request, std::function<void(Result<std::string>)> done);
  /// Ends a pending ask() with `unavailable` and kills the process; `gone` is called when it is reaped, which
  /// is never while it is stuck in the driver.
  void retire(std::function<void()> gone);

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  void wait_until_gone(std::function<void()> gone);

  NvmlHelper(boost::asio::io_context& loop, pid_t pid, int pidfd, int socket);
  void read_on();
  void finish(Result<std::string> answer);
  void kill() noexcept;
  bool reap() noexcept;

  pid_t pid_;
  bool reaped_ = false;
  boost::asio::posix::stream_descriptor pidfd_;
  boost::asio::local::stream_protocol::socket socket_;
  std::string request_;
  std::string answer_;
  char buffer_[4096];
  std::function<void(Result<std::string>)> done_;
};

}  // namespace ebb::devices
