#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>

#include "ebb/base/unique_fd.h"

namespace ebb::daemon {

/// Calls once when the process of a pidfd has exited (a zombie has). The thread of the loop.
///
/// That Asio says "readable" is only a hint: it gives the record of a descriptor that was closed to the next
/// one that is opened, and with it an event of the first that was already under way. So the process itself is
/// asked.
class ExitWatch {
 public:
  /// `exited` may destroy the watch.
  ExitWatch(boost::asio::io_context& io, UniqueFd pidfd, std::function<void()> exited);

  [[nodiscard]] int pidfd() { return descriptor_.native_handle(); }

 private:
  void wait();

  boost::asio::posix::stream_descriptor descriptor_;
  std::function<void()> exited_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace ebb::daemon
