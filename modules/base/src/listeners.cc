#include "ebb/base/listeners.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "ebb/base/files.h"
#include "ebb/base/unique_fd.h"

namespace ebb {
namespace {

constexpr std::uint8_t kListen =
    10;  // TCP_LISTEN in the kernel's numbering, of which there is no public header
// A dump that the kernel says was interrupted by a change may have missed a socket.
constexpr int kMostDumps = 8;
constexpr std::size_t kLargestProcFile = 64 << 20;

std::string address_text(bool ipv6, const void* address) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(ipv6 ? AF_INET6 : AF_INET, address, text, sizeof text);
  return text;
}

struct Request {
  nlmsghdr header;
  inet_diag_req_v2 diag;
};

// Takes one netlink message that describes a socket.
void take_socket(const nlmsghdr& header, const char* payload, std::size_t size,
                 std::vector<Listener>& found) {
  inet_diag_msg message{};
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || size < sizeof message) return;
  std::memcpy(&message, payload, sizeof message);
  Listener listener;
  listener.inode = message.idiag_inode;
  listener.uid = message.idiag_uid;
  listener.ipv6 = message.idiag_family == AF_INET6;
  listener.port = ntohs(message.id.idiag_sport);
  listener.address = address_text(listener.ipv6, message.id.idiag_src);
  for (std::size_t at = (sizeof message + 3) / 4 * 4; at + sizeof(nlattr) <= size;) {
    nlattr attribute{};
    std::memcpy(&attribute, payload + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || at + attribute.nla_len > size) break;
    std::uint64_t id = 0;
    if ((attribute.nla_type & NLA_TYPE_MASK) == INET_DIAG_CGROUP_ID &&
        attribute.nla_len >= sizeof attribute + sizeof id) {
      std::memcpy(&id, payload + at + sizeof attribute, sizeof id);
      listener.cgroup_id = id;
    }
    at += (std::size_t{attribute.nla_len} + 3) / 4 * 4;  // NLA_ALIGN
  }
  found.push_back(std::move(listener));
}

enum class Dump { complete, interrupted, refused };

// One dump of one family. `port` narrows it in the kernel; 0 is all.
Dump dump_family(int socket, std::uint8_t family, std::uint16_t port, std::vector<Listener>& found) {
  Request request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.diag.sdiag_family = family;
  request.diag.sdiag_protocol = IPPROTO_TCP;
  request.diag.idiag_states = 1u << kListen;
  request.diag.id.idiag_sport = htons(port);
  if (::send(socket, &request, sizeof request, 0) != static_cast<ssize_t>(sizeof request))
    return Dump::refused;
  bool interrupted = false;
  alignas(nlmsghdr) char buffer[32 << 10];
  for (;;) {
    const ssize_t got = ::recv(socket, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Dump::refused;
    for (std::size_t at = 0; at + sizeof(nlmsghdr) <= static_cast<std::size_t>(got);) {
      nlmsghdr header{};
      std::memcpy(&header, buffer + at, sizeof header);
      if (header.nlmsg_len < sizeof header || at + header.nlmsg_len > static_cast<std::size_t>(got)) {
        return Dump::refused;
      }
      interrupted = interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (header.nlmsg_type == NLMSG_DONE) return interrupted ? Dump::interrupted : Dump::complete;
      if (header.nlmsg_type == NLMSG_ERROR) return Dump::refused;
      take_socket(header, buffer + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN, found);
      at += NLMSG_ALIGN(std::size_t{header.nlmsg_len});
    }
  }
}

bool ask_kernel(std::uint16_t port, std::vector<Listener>& found) {
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket) return false;
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    const std::size_t had = found.size();
    Dump dump = Dump::interrupted;
    for (int turn = 0; turn < kMostDumps && dump == Dump::interrupted; ++turn) {
      found.resize(had);
      dump = dump_family(socket.get(), family, port, found);
    }
    if (dump == Dump::refused) return false;
  }
  return true;
}

template <typename T>
bool number(std::string_view text, T& value, int base) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return failure == std::errc() && end == text.data() + text.size();
}

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> found;
  for (;;) {
    const std::size_t start = line.find_first_not_of(' ');
    if (start == std::string_view::npos) return found;
    line.remove_prefix(start);
    const std::size_t length = std::min(line.find(' '), line.size());
    found.push_back(line.substr(0, length));
    line.remove_prefix(length);
  }
}

// "0100007F:1F90": words of 32 bits in the machine's own order, then the port.
bool parse_endpoint(std::string_view text, bool ipv6, Listener& listener) {
  const std::size_t digits = ipv6 ? 32 : 8;
  if (text.size() != digits + 5 || text[digits] != ':') return false;
  std::uint32_t address[4] = {};
  for (std::size_t i = 0; i < digits / 8; ++i) {
    if (!number(text.substr(8 * i, 8), address[i], 16)) return false;
  }
  listener.address = address_text(ipv6, address);
  return number(text.substr(digits + 1), listener.port, 16);
}

}  // namespace

std::vector<Listener> parse_proc_net_tcp(std::string_view text, bool ipv6) {
  std::vector<Listener> found;
  while (!text.empty()) {
    const std::size_t length = std::min(text.find('\n'), text.size());
    const auto fields = words(text.substr(0, length));
    text.remove_prefix(std::min(length + 1, text.size()));
    Listener listener;
    listener.ipv6 = ipv6;
    unsigned state = 0;
    if (fields.size() >= 10 && number(fields[3], state, 16) && state == kListen &&
        parse_endpoint(fields[1], ipv6, listener) && number(fields[7], listener.uid, 10) &&
        number(fields[9], listener.inode, 10)) {
      found.push_back(std::move(listener));
    }
  }
  return found;
}

Result<std::vector<Listener>> tcp_listeners(std::uint16_t first, std::uint16_t last) {
  std::vector<Listener> found;
  if (!ask_kernel(first == last ? first : std::uint16_t{0}, found)) {
    found.clear();
    auto ipv4 = read_file("/proc/net/tcp", kLargestProcFile);
    if (!ipv4) return std::move(ipv4).error();
    found = parse_proc_net_tcp(*ipv4, false);
    // A kernel without IPv6 has no such file.
    if (auto ipv6 = read_file("/proc/net/tcp6", kLargestProcFile)) {
      for (Listener& listener : parse_proc_net_tcp(*ipv6, true)) found.push_back(std::move(listener));
    }
  }
  std::erase_if(found, [&](const Listener& l) { return l.port < first || l.port > last; });
  return found;
}

}  // namespace ebb
