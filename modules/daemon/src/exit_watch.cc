#include "exit_watch.h"

#include <poll.h>

#include <utility>

namespace ebb::daemon {
namespace {

bool has_exited(int pidfd) {
  pollfd process{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&process, 1, 0) == 1;
}

}  // namespace

ExitWatch::ExitWatch(boost::asio::io_context& io, UniqueFd pidfd, std::function<void()> exited)
    : descriptor_(io, pidfd.release()), exited_(std::move(exited)) {
  wait();
}

void ExitWatch::wait() {
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
                           if (failure || alive.expired()) return;
                           if (!has_exited(pidfd())) return wait();
                           const auto exited = std::exchange(exited_, nullptr);
                           exited();
                         });
}

}  // namespace ebb::daemon
