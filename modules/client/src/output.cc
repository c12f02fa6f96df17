#include "output.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ebb::client {

Output::Output(boost::asio::io_context& io, int fd, std::function<void(int)> on_closed)
    : io_(io), fd_(fd), on_closed_(std::move(on_closed)), drained_(io) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    closed_ = true;  // started with it closed: as with /dev/null
    return;
  }
  if (S_ISSOCK(status.st_mode)) way_ = Way::socket;
  if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) return;
  // O_NONBLOCK belongs to the description, which the shell and others share: open another one.
  own_.reset(
      ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (own_) way_ = Way::own;
}

Output::~Output() {
  if (waiter_) waiter_->release();
}

void Output::write(std::string_view bytes) {
  if (closed_) return;
  queue_ += bytes;
  if (!waiting_) flush();
}

ssize_t Output::write_some() const {
  const char* data = queue_.data() + written_;
  const std::size_t size = queue_.size() - written_;
  switch (way_) {
    case Way::own:
      return ::write(own_.get(), data, size);
    case Way::socket:
      return ::send(fd_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    case Way::file:
      return ::write(fd_, data, size);
  }
  return -1;
}

void Output::flush() {
  while (written_ < queue_.size()) {
    const ssize_t size = write_some();
    if (size >= 0) {
      written_ += static_cast<std::size_t>(size);
    } else if (errno == EAGAIN) {
      wait_writable();
      break;
    } else if (errno != EINTR) {
      const int error = errno;
      closed_ = true;
      written_ = queue_.size();
      if (on_closed_) on_closed_(error);
    }
  }
  if (written_ == queue_.size()) {
    queue_.clear();
    written_ = 0;
  }
  drained_.ring();
}

void Output::wait_writable() {
  if (!writable_) {
    writable_.reset(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLOUT;
    ::epoll_ctl(writable_.get(), EPOLL_CTL_ADD, own_ ? own_.get() : fd_, &event);
    waiter_.emplace(io_, writable_.get());
  }
  waiting_ = true;
  waiter_->async_wait(boost::asio::posix::descriptor_base::wait_read,
                      [this](boost::system::error_code error) {
                        if (error) return;
                        waiting_ = false;
                        flush();
                      });
}

Task<void> Output::drain(std::size_t left) {
  while (!closed_ && queue_.size() - written_ > left) co_await drained_.wait();
}

}  // namespace ebb::client
