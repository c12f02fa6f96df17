#include "ebb/base/listeners.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ebb/base/files.h"
#include "ebb/base/unique_fd.h"

namespace ebb {
namespace {

struct Bound {
  UniqueFd fd;
  std::uint16_t port = 0;
  std::uint64_t inode = 0;
};

Bound listen_on(int family, bool v6only = true, std::uint16_t port = 0) {
  Bound bound;
  bound.fd.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t size = sizeof(sockaddr_in);
  if (family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(address);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in.sin_port = htons(port);
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(address);
    in.sin6_family = AF_INET6;
    in.sin6_addr = in6addr_loopback;
    in.sin6_port = htons(port);
    size = sizeof in;
    const int on = v6only ? 1 : 0;
    ::setsockopt(bound.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (::bind(bound.fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(bound.fd.get(), 1) != 0) {
    ADD_FAILURE() << "cannot listen";
  }
  socklen_t length = sizeof address;
  ::getsockname(bound.fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
  bound.port = ntohs(family == AF_INET ? reinterpret_cast<sockaddr_in&>(address).sin_port
                                       : reinterpret_cast<sockaddr_in6&>(address).sin6_port);
  struct stat found{};
  ::fstat(bound.fd.get(), &found);
  bound.inode = found.st_ino;
  return bound;
}

TEST(Listeners, ShowsOneOfEachFamily) {
  const Bound four = listen_on(AF_INET);
  auto found = tcp_listeners(four.port, four.port);
  ASSERT_TRUE(found.ok()) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].inode, four.inode);
  EXPECT_EQ((*found)[0].address, "127.0.0.1");
  EXPECT_EQ((*found)[0].port, four.port);
  EXPECT_EQ((*found)[0].uid, ::getuid());
  EXPECT_FALSE((*found)[0].ipv6);

  const Bound six = listen_on(AF_INET6, true, four.port);
  found = tcp_listeners(four.port, four.port);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 2u) << "a check of one family would be blind for the other";
  const auto& second = (*found)[0].ipv6 ? (*found)[0] : (*found)[1];
  EXPECT_EQ(second.inode, six.inode);
  EXPECT_EQ(second.address, "::1");
}

TEST(Listeners, LeavesOutWhatOnlyIsBoundOrOutsideTheRange) {
  const UniqueFd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(bound.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(bound.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::uint16_t port = ntohs(address.sin_port);
  EXPECT_TRUE(tcp_listeners(port, port)->empty());
  ASSERT_EQ(::listen(bound.get(), 1), 0);
  EXPECT_EQ(tcp_listeners(port, port)->size(), 1u);
  EXPECT_TRUE(tcp_listeners(port, port - 1)->empty());
  const auto range = tcp_listeners(port - 1, port == 65535 ? port : static_cast<std::uint16_t>(port + 1));
  ASSERT_TRUE(range.ok());
  EXPECT_EQ(std::count_if(range->begin(), range->end(), [&](const Listener& l) { return l.port == port; }),
            1);
}

TEST(Listeners, TellsTheCgroupWhereTheKernelDoes) {
  const Bound four = listen_on(AF_INET);
  const auto found = tcp_listeners(four.port, four.port);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1u);
  if (!found->front().cgroup_id) GTEST_SKIP() << "this kernel gives no cgroup id of a socket";
  EXPECT_GT(*found->front().cgroup_id, 0u);
}

TEST(Listeners, ProcFilesTellTheSame) {
  const Bound four = listen_on(AF_INET);
  const Bound six = listen_on(AF_INET6, true, four.port);
  const auto only = [&](const char* file, bool ipv6) {
    auto all = parse_proc_net_tcp(*read_file(file), ipv6);
    std::erase_if(all, [&](const Listener& l) { return l.port != four.port; });
    return all;
  };
  const auto ipv4 = only("/proc/net/tcp", false);
  ASSERT_EQ(ipv4.size(), 1u);
  EXPECT_EQ(ipv4[0].inode, four.inode);
  EXPECT_EQ(ipv4[0].address, "127.0.0.1");
  EXPECT_EQ(ipv4[0].uid, ::getuid());
  const auto ipv6 = only("/proc/net/tcp6", true);
  ASSERT_EQ(ipv6.size(), 1u);
  EXPECT_EQ(ipv6[0].inode, six.inode);
  EXPECT_EQ(ipv6[0].address, "::1");
}

TEST(Listeners, GarbageInProcFilesIsLeftOut) {
  EXPECT_TRUE(parse_proc_net_tcp("", false).empty());
  EXPECT_TRUE(parse_proc_net_tcp("\n\n   \n0A 0A 0A 0A 0A 0A 0A 0A 0A 0A 0A", false).empty());
  const std::string line =
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4242 1";
  ASSERT_EQ(parse_proc_net_tcp(line, false).size(), 1u);
  EXPECT_EQ(parse_proc_net_tcp(line, false)[0].port, 8080);
  EXPECT_TRUE(parse_proc_net_tcp(line, true).empty());
  for (std::size_t cut = 0; cut + 2 < line.size(); ++cut) {
    EXPECT_LE(parse_proc_net_tcp(line.substr(0, cut), false).size(), 1u);
  }
  EXPECT_TRUE(
      parse_proc_net_tcp("   0: 0100007F:1F90 00000000:0000 01 0:0 00:0 0  1000 0 4242 1", false).empty());
}

}  // namespace
}  // namespace ebb
