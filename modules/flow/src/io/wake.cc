#include "io/wake.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace ebb::flow {
namespace {

UniqueFd new_event() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) throw std::system_error(errno, std::generic_category(), "ebb: cannot make an eventfd");
  return event;
}

// Rounded up, so that a wait does not end before its deadline.
int milliseconds_until(BootTime deadline) {
  constexpr std::chrono::milliseconds kMost = std::chrono::hours(1);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now());
  return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), kMost).count());
}

}  // namespace

void Wake::Tell::operator()() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(event, &one, sizeof one);  // it cannot be full: this is called once
}

Wake::Wake(std::stop_token stop)
    : event_(new_event()), stop_(std::move(stop)), told_(stop_, Tell{event_.get()}) {}

Wake::Why Wake::wait(int fd, short events, std::optional<BootTime> deadline) {
  for (;;) {
    std::array<pollfd, 2> fds{pollfd{fd, events, 0}, pollfd{event_.get(), POLLIN, 0}};
    const int count = ::poll(fds.data(), fds.size(), deadline ? milliseconds_until(*deadline) : -1);
    if (count < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "ebb: poll");
    if (stop_.stop_requested()) return Why::stopped;
    if (count > 0 && fds[0].revents != 0) return Why::ready;
    if (deadline && BootClock::now() >= *deadline) return Why::timeout;
  }
}

}  // namespace ebb::flow
