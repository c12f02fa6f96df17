#include "io/socket.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace ebb::flow {
namespace {

struct Freed {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, Freed>;

// The system's resolver cannot be interrupted; numbers do not need it.
Addresses look_up(const SocketAddress& address, bool passive) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const char* host = address.host.empty() ? nullptr : address.host.c_str();
  if (const int failed = ::getaddrinfo(host, address.port.c_str(), &hints, &list); failed != 0) {
    const std::string why = failed == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(failed);
    throw IoError("ebb: cannot find the host of " + address.text() + ": " + why);
  }
  return Addresses(list);
}

UniqueFd new_socket(const addrinfo& at) {
  return UniqueFd(::socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at.ai_protocol));
}

}  // namespace

SocketAddress SocketAddress::parse(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  SocketAddress address;
  if (colon != std::string::npos) {
    address = {.host = text.substr(0, colon), .port = text.substr(colon + 1)};
    if (address.host.starts_with('[') && address.host.ends_with(']')) {
      address.host = address.host.substr(1, address.host.size() - 2);
    }
  }
  unsigned port = 0;
  const char* end = address.port.data() + address.port.size();
  const auto read = std::from_chars(address.port.data(), end, port);
  if (read.ec != std::errc() || read.ptr != end || port == 0 || port > 65535) {
    throw std::invalid_argument(
        "ebb: from_socket(\"" + text +
        "\"): an address is host:port or [address]:port, with a port from 1 to 65535");
  }
  return address;
}

std::string SocketAddress::text() const {
  return (host.find(':') == std::string::npos ? host : '[' + host + ']') + ':' + port;
}

std::unique_ptr<Input> connect_to(const SocketAddress& address, Duration timeout, std::stop_token stop) {
  const std::string what = "cannot connect to " + address.text();
  const Addresses addresses = look_up(address, false);
  const BootTime deadline = BootClock::now() + timeout;
  Wake wake(stop);
  int why = ETIMEDOUT;
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    UniqueFd fd = new_socket(*at);
    if (!fd) {
      why = errno;
      continue;
    }
    if (::connect(fd.get(), at->ai_addr, at->ai_addrlen) != 0) {
      why = errno;
      if (why != EINPROGRESS) continue;
      const Wake::Why woken = wake.wait(fd.get(), POLLOUT, deadline);
      if (woken == Wake::Why::stopped) return nullptr;
      if (woken == Wake::Why::timeout) throw io_error(ETIMEDOUT, what);
      socklen_t size = sizeof why;
      if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &why, &size) != 0) why = errno;
      if (why != 0) continue;
    }
    return std::make_unique<Input>(std::move(fd), address.text(), std::move(stop));
  }
  throw io_error(why, what);
}

Listener::Listener(const SocketAddress& address, std::stop_token stop)
    : name_(address.text()), stop_(std::move(stop)), wake_(stop_) {
  const Addresses addresses = look_up(address, true);
  fd_ = new_socket(*addresses);
  const int on = 1;
  if (!fd_ || ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd_.get(), addresses->ai_addr, addresses->ai_addrlen) != 0 ||
      ::listen(fd_.get(), SOMAXCONN) != 0) {
    throw io_error(errno, "cannot listen at " + name_);
  }
}

std::unique_ptr<Input> Listener::accept() {
  for (;;) {
    if (wake_.wait(fd_.get(), POLLIN) == Wake::Why::stopped) return nullptr;
    UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) return std::make_unique<Input>(std::move(fd), name_, stop_);
    // A client that has gone before it was taken is no matter.
    if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED) {
      throw io_error(errno, "cannot take a connection at " + name_);
    }
  }
}

}  // namespace ebb::flow
