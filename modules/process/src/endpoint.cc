#include "endpoint.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "descriptor_passing.h"
#include "socket_path.h"

namespace ebb::process {
namespace {

constexpr std::size_t kMostConnections = 8;
constexpr std::size_t kMostCommands = 16;  // taken from one connection at once

// The folder is closed to others already; this holds where somebody opened it by hand.
bool may_command(int socket) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

Endpoint::Endpoint(UniqueFd first) {
  if (first) connections_.push_back({.socket = std::move(first), .daemon = true});
}

Result<void> Endpoint::listen(int folder) {
  listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = keeper_socket_address(folder, kNewKeeperSocket);
  if (!listener_ ||
      ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), kMostConnections) != 0 ||
      ::renameat(folder, kNewKeeperSocket, folder, kKeeperSocket) != 0) {
    return errno_error(errno, "cannot make the keeper's socket in the attempt's folder");
  }
  return {};
}

void Endpoint::add_polls(std::vector<pollfd>& entries) const {
  if (listener_) entries.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  for (const Connection& connection : connections_) {
    entries.push_back({.fd = connection.socket.get(), .events = POLLIN, .revents = 0});
  }
}

void Endpoint::accept() {
  while (listener_) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return;
    }
    if (may_command(socket.get()) && connections_.size() < kMostConnections) {
      connections_.push_back({.socket = std::move(socket), .daemon = false});
    }
  }
}

// False when the connection is to be dropped.
bool Endpoint::receive_from(std::size_t index, std::vector<Request>& requests) {
  static std::array<char, 16 << 10> packet;  // the longest command is a Stop
  for (std::size_t count = 0; count < kMostCommands; ++count) {
    const ssize_t got = ::recv(connections_[index].socket.get(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) return false;
    auto command = parse_keeper_command({packet.data(), static_cast<std::size_t>(got)});
    if (!command) return false;
    if (std::holds_alternative<Hello>(*command)) connections_[index].daemon = true;
    if (!connections_[index].daemon) return false;
    requests.push_back({.from = index, .command = std::move(*command)});
  }
  return true;
}

std::vector<Endpoint::Request> Endpoint::receive(const Ready& ready) {
  std::erase_if(connections_, [](const Connection& connection) { return !connection.socket; });
  if (listener_ && ready(listener_.get())) accept();
  std::vector<Request> requests;
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    if (!ready(connections_[i].socket.get())) continue;
    if (!receive_from(i, requests)) connections_[i] = {};
  }
  return requests;
}

void Endpoint::reply(std::size_t to, const KeeperEvent& event, const std::vector<UniqueFd>* descriptors) {
  Connection& connection = connections_[to];
  if (!connection.socket) return;
  const std::string packet = encode(event);
  std::vector<int> numbers;
  if (descriptors != nullptr) {
    for (const UniqueFd& descriptor : *descriptors) numbers.push_back(descriptor.get());
  }
  if (!send_with_descriptors(connection.socket.get(), packet, numbers, MSG_DONTWAIT)) connection = {};
}

void Endpoint::broadcast(const KeeperEvent& event) {
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i].daemon) reply(i, event);
  }
}

bool Endpoint::daemon_present() const noexcept {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const Connection& connection) { return connection.socket && connection.daemon; });
}

bool Endpoint::daemon_reads() {
  bool reads = false;
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    if (!connections_[i].socket || !connections_[i].daemon) continue;
    int unread = 0;
    if (::ioctl(connections_[i].socket.get(), SIOCOUTQ, &unread) == 0 && unread > 0) continue;
    reads = true;
    reply(i, Locks{});
  }
  return reads;
}

}  // namespace ebb::process
