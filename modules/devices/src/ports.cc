#include "ebb/devices/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ebb/base/files.h"
#include "ebb/base/listeners.h"
#include "ebb/base/text.h"
#include "ebb/base/unique_fd.h"
#include "errors.h"
#include "numbers.h"
#include "proc_fds.h"
#include "process_facts.h"

namespace ebb::devices {
namespace {

constexpr int kFirstUnprivileged = 1024;
constexpr int kLastPort = 65535;

Error bad_range(std::string_view text, const std::string& why) {
  return fail(Errc::invalid, "port range '" + printable(text.substr(0, 40)) + "': " + why);
}

pid_t socket_owner(std::uint64_t inode) {
  const std::string wanted = "socket:[" + std::to_string(inode) + "]";
  return find_descriptor([&](pid_t, const std::string& fd) {
    char target[64];
    const ssize_t length = ::readlink(fd.c_str(), target, sizeof target);
    return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == wanted;
  });
}

PortHolder holder_of(const Listener& listener) {
  PortHolder holder;
  holder.address =
      (listener.ipv6 ? "[" + listener.address + "]" : listener.address) + ":" + std::to_string(listener.port);
  holder.pid = socket_owner(listener.inode);
  if (holder.pid != 0) holder.name = process_name(holder.pid);
  holder.user = holder.pid != 0 ? process_user(holder.pid) : user_name(listener.uid);
  return holder;
}

std::string addresses(std::uint16_t port) {
  return "0.0.0.0:" + std::to_string(port) + " or [::]:" + std::to_string(port);
}

// 0, or errno. A family that this machine does not have cannot be taken on it.
int try_bind(int family, std::uint16_t port) {
  const UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno == EAFNOSUPPORT ? 0 : errno;
  const int on = 1;
  // As servers do: what is in TIME_WAIT only does not hold the port.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage address{};
  socklen_t length = 0;
  if (family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    std::memcpy(&address, &any, length = sizeof any);
  } else {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port);
    std::memcpy(&address, &any, length = sizeof any);
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) return 0;
  return errno == EADDRNOTAVAIL ? 0 : errno;
}

// Nothing where the kernel's answer cannot be read.
std::optional<std::pair<int, int>> ephemeral_ports() {
  const auto text = read_file("/proc/sys/net/ipv4/ip_local_port_range", 4096);
  if (!text) return std::nullopt;
  const std::size_t gap = text->find_first_of(" \t");
  const auto from = parse_number<int>(std::string_view(*text).substr(0, gap));
  const std::size_t next = text->find_first_not_of(" \t", gap);
  if (gap == std::string::npos || next == std::string::npos) return std::nullopt;
  const auto to = parse_number<int>(std::string_view(*text).substr(next, text->find('\n') - next));
  if (!from || !to) return std::nullopt;
  return std::pair(*from, *to);
}

PortSet ports_of(PortRange range) {
  PortSet ports;
  for (int port = range.from; port <= range.to; ++port) ports.set(static_cast<std::size_t>(port));
  return ports;
}

std::string text_of(PortRange range) { return std::to_string(range.from) + "-" + std::to_string(range.to); }

}  // namespace

Result<PortRange> parse_port_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto from = parse_number<std::int64_t>(text.substr(0, dash));
  const auto to = dash == std::string_view::npos ? from : parse_number<std::int64_t>(text.substr(dash + 1));
  if (!from || !to || *from < 0 || *to < 0) return bad_range(text, "give FROM-TO, as in 38000-38099");
  if (*from > kLastPort || *to > kLastPort) return bad_range(text, "ports end at 65535");
  if (*from > *to) {
    return bad_range(
        text, "it is reversed; did you mean " + std::to_string(*to) + "-" + std::to_string(*from) + "?");
  }
  if (*from < kFirstUnprivileged) {
    return bad_range(text, "ports below 1024 are privileged, jobs cannot listen on them");
  }
  if (*to - *from + 1 > kMaxPorts) {
    return bad_range(text, "at most " + std::to_string(kMaxPorts) + " ports can be leased");
  }
  return PortRange{static_cast<std::uint16_t>(*from), static_cast<std::uint16_t>(*to)};
}

std::string describe(const PortHolder& holder) {
  std::string text;
  if (holder.pid != 0) {
    text = describe(LockHolder{.pid = holder.pid, .name = holder.name, .user = holder.user});
  } else {
    text = holder.user.empty() ? "a process that cannot be seen" : "a process of " + holder.user;
  }
  return text + " on " + holder.address;
}

PortVerdict check_port_released(std::uint16_t port) {
  PortVerdict verdict;
  const auto listeners = tcp_listeners(port, port);
  if (!listeners) {
    verdict.text = "cannot list the listeners: " + listeners.error().message;
    return verdict;
  }
  if (listeners->empty()) {
    verdict.kind = PortVerdict::Kind::free;
    verdict.text = "no listener on " + addresses(port);
    return verdict;
  }
  verdict.kind = PortVerdict::Kind::taken;
  verdict.text = "port " + std::to_string(port) + " is held by ";
  for (const Listener& listener : *listeners) {
    verdict.holders.push_back(holder_of(listener));
    verdict.text += (verdict.holders.size() > 1 ? ", " : "") + describe(verdict.holders.back());
  }
  return verdict;
}

PortVerdict check_port_free(std::uint16_t port) {
  PortVerdict verdict = check_port_released(port);
  if (verdict.kind != PortVerdict::Kind::free) return verdict;
  for (const int family : {AF_INET, AF_INET6}) {
    const int error = try_bind(family, port);
    if (error == 0) continue;
    verdict.kind = PortVerdict::Kind::taken;
    verdict.text = std::string("cannot bind ") + (family == AF_INET ? "0.0.0.0:" : "[::]:") +
                   std::to_string(port) + ": " + errno_error(error, "bind").message;
    if (error == EADDRINUSE) verdict.text += "; nobody listens there, an open connection uses the port";
    return verdict;
  }
  return verdict;
}

Result<PortPool> PortPool::open(const LockDirectory& locks, std::optional<PortRange> range) {
  PortPool pool(locks, range.value_or(kReservedRange));
  auto reservation = PortReservation::make(locks, ports_of(pool.range_));
  if (reservation) {
    pool.reservation_ = std::move(*reservation);
    return pool;
  }
  if (!range) {
    pool.range_ = kPlainRange;
    pool.note_ = "jobs get ports " + text_of(kPlainRange) + ", not " + text_of(kReservedRange) +
                 ", which cannot be kept out of the kernel's ephemeral ports: " + reservation.error().message;
    return pool;
  }
  const auto ephemeral = ephemeral_ports();
  if (!ephemeral || (range->from <= ephemeral->second && range->to >= ephemeral->first)) {
    pool.note_ = "ports " + text_of(*range) +
                 " lie among the kernel's ephemeral ports and cannot be kept out "
                 "of them (" +
                 reservation.error().message +
                 "): an outgoing connection may take one; choose ports outside "
                 "net.ipv4.ip_local_port_range, or have root add them to net.ipv4.ip_local_reserved_ports";
  }
  return pool;
}

Result<LockFile> PortPool::lock_port(std::uint16_t port) const {
  if (!range_.contains(port)) {
    return fail(Errc::impossible, "port " + std::to_string(port) + " is not in " + text_of(range_));
  }
  return locks_->lock(port_lock_name(port));
}

Result<void> PortPool::give_back() {
  if (!reservation_) return {};
  auto given = reservation_->give_back(*locks_);
  reservation_.reset();
  return given;
}

}  // namespace ebb::devices
