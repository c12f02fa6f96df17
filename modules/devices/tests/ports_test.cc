#include "ebb/devices/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "support.h"

namespace ebb::devices {
namespace {

using testing::HasSubstr;

// A listener on any address of one family; `port` 0: a free one.
class TestListener {
 public:
  explicit TestListener(int family, std::uint16_t port = 0)
      : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in6 six{};
    sockaddr_in four{};
    six.sin6_family = AF_INET6;
    four.sin_family = AF_INET;
    six.sin6_port = four.sin_port = htons(port);
    if (family == AF_INET6) ::setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    const auto* address = family == AF_INET6 ? reinterpret_cast<const sockaddr*>(&six)
                                             : reinterpret_cast<const sockaddr*>(&four);
    const socklen_t length = family == AF_INET6 ? sizeof six : sizeof four;
    listening_ = ::bind(fd_.get(), address, length) == 0 && ::listen(fd_.get(), 5) == 0;
    sockaddr_in6 bound{};
    socklen_t size = sizeof bound;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = ntohs(bound.sin6_port);  // at the same place in both families
  }
  [[nodiscard]] bool listening() const { return listening_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  bool listening_ = false;
  std::uint16_t port_ = 0;
};

TEST(PortRange, ReadsRangesAndSinglePorts) {
  EXPECT_EQ(*parse_port_range("38000-38099"), kReservedRange);
  EXPECT_EQ(parse_port_range("40000")->size(), 1);
  EXPECT_EQ(parse_port_range("1024-11023")->size(), kMaxPorts);
}

TEST(PortRange, RefusesTheRestAndSaysWhy) {
  const auto why = [](const char* text) {
    const auto range = parse_port_range(text);
    EXPECT_FALSE(range) << text;
    return range ? std::string() : range.error().message;
  };
  EXPECT_THAT(why("38099-38000"), HasSubstr("did you mean 38000-38099"));
  EXPECT_THAT(why("80-90"), HasSubstr("privileged"));
  EXPECT_THAT(why("60000-70000"), HasSubstr("65535"));
  EXPECT_THAT(why("1024-65535"), HasSubstr("at most 10000"));
  for (const char* text : {"", "-", "a-b", "1-2-3", "38000-", "-38000", "38000,38001", "3.5", " 38000"}) {
    EXPECT_THAT(why(text), HasSubstr("FROM-TO")) << text;
  }
}

TEST(PortSet, ReadsAndWritesTheKernelsForm) {
  const auto ports = parse_port_set("8080,38000-38099\n");
  ASSERT_TRUE(ports);
  EXPECT_EQ(ports->count(), 101U);
  EXPECT_EQ(write_port_set(*ports), "8080,38000-38099");
  EXPECT_EQ(write_port_set(*parse_port_set("\n")), "");
  EXPECT_EQ(write_port_set(*parse_port_set("0-65535")), "0-65535");
  for (const char* text : {",", "1-", "2-1", "x", "65536", "1,,2"})
    EXPECT_FALSE(parse_port_set(text)) << text;
}

// Defect 15 of the original: another process on the job's port passed for its server.
TEST(PortCheck, ListenerOnEitherFamilyTakesThePort) {
  for (const int family : {AF_INET, AF_INET6}) {
    TestListener server(family);
    ASSERT_TRUE(server.listening());
    const auto taken = check_port_released(server.port());
    EXPECT_EQ(taken.kind, PortVerdict::Kind::taken) << taken.text;
    ASSERT_EQ(taken.holders.size(), 1U);
    EXPECT_EQ(taken.holders[0].pid, ::getpid());
    EXPECT_THAT(taken.text, HasSubstr("pid " + std::to_string(::getpid()) + " (devices_test"));
    EXPECT_THAT(taken.text,
                HasSubstr((family == AF_INET6 ? "[::]:" : "0.0.0.0:") + std::to_string(server.port())));
    EXPECT_EQ(check_port_free(server.port()).kind, PortVerdict::Kind::taken);
    server.close();
    const auto free = check_port_released(server.port());
    EXPECT_EQ(free.kind, PortVerdict::Kind::free);
    const std::string port = std::to_string(server.port());
    EXPECT_EQ(free.text, "no listener on 0.0.0.0:" + port + " or [::]:" + port);
    EXPECT_EQ(check_port_free(server.port()).kind, PortVerdict::Kind::free);
  }
}

TEST(PortCheck, DifferentServersOnBothFamiliesAreBothNamed) {
  const TestListener four(AF_INET);
  const TestListener six(AF_INET6, four.port());
  ASSERT_TRUE(four.listening() && six.listening());
  EXPECT_EQ(check_port_released(four.port()).holders.size(), 2U);
}

// An outgoing connection that took the port as its source: nobody listens, yet no job could bind it.
TEST(PortCheck, ConnectionThatUsesThePortTakesIt) {
  const TestListener server(AF_INET);
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(server.port());
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  sockaddr_in own{};
  socklen_t size = sizeof own;
  ASSERT_EQ(::getsockname(client.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
  const auto verdict = check_port_free(ntohs(own.sin_port));
  EXPECT_EQ(verdict.kind, PortVerdict::Kind::taken);
  EXPECT_THAT(verdict.text, HasSubstr("an open connection uses the port"));
  EXPECT_EQ(check_port_released(ntohs(own.sin_port)).kind, PortVerdict::Kind::free) << "nobody listens";
}

}  // namespace
}  // namespace ebb::devices
