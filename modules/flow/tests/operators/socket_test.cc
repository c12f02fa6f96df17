// TCP connections as sources of lines.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ebb/base/unique_fd.h"
#include "folder.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}
const sockaddr* generic(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

void write(const UniqueFd& to, const std::string& text) {
  ASSERT_EQ(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}
// Its end is a reset, not a close.
void reset(UniqueFd& fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  fd.reset();
}

/// The other side: a server at a port of its own.
class Server {
 public:
  explicit Server(int backlog = 8) {
    const sockaddr_in any = loopback(0);
    socklen_t size = sizeof at_;
    if (::bind(fd_.get(), generic(any), sizeof any) != 0 || ::listen(fd_.get(), backlog) != 0 ||
        ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&at_), &size) != 0) {
      ADD_FAILURE() << "no server";
    }
  }
  [[nodiscard]] int port() const { return ntohs(at_.sin_port); }
  [[nodiscard]] UniqueFd accept() const {
    return UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in at_{};
};

// A port that nobody listens at.
int free_port() { return Server().port(); }

UniqueFd client(int port) {
  const sockaddr_in at = loopback(port);
  const BootTime deadline = BootClock::now() + 20s;
  for (;;) {  // until the pipeline listens
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), generic(at), sizeof at) == 0) return fd;
    if (BootClock::now() > deadline) {
      ADD_FAILURE() << "nobody listens";
      return fd;
    }
    std::this_thread::yield();
  }
}

TEST(Socket, LinesUntilTheOtherSideCloses) {
  const Server server;
  LocalEnvironment env("socket");
  auto lines = env.from_socket("127.0.0.1", server.port()).collect();
  Pipeline pipeline = env.submit();
  {
    const UniqueFd peer = server.accept();
    write(peer, "one\r\ntw");
    write(peer, "o\nlast");
  }
  const PipelineReport report = pipeline;
  EXPECT_EQ(report.outcome, Outcome::completed);
  EXPECT_THAT(lines.get(), ElementsAre("one", "two", "last"));
}

TEST(Socket, AStopEndsAWaitForTheNextLine) {
  const Server server;
  LocalEnvironment env("socket");
  auto lines = env.from_socket("localhost:" + std::to_string(server.port()))
                   .map([](std::string s) { return s; })
                   .name("lines")
                   .collect();
  Pipeline pipeline = env.submit();
  const UniqueFd peer = server.accept();
  write(peer, "one\nha");
  await(pipeline, "lines", 1);
  const BootTime begun = BootClock::now();
  pipeline.stop();
  EXPECT_EQ(pipeline.report().outcome, Outcome::stopped);
  EXPECT_LT(BootClock::now() - begun, 10s);
  EXPECT_THAT(lines.get(), ElementsAre("one"));
}

TEST(Socket, AResetFailsThePipelineWhateverThePolicy) {
  const Server server;
  LocalEnvironment env("socket");
  env.from_socket("127.0.0.1", server.port())
      .on_error(skip)
      .map([](std::string s) { return s; })
      .name("lines")
      .sink([](const std::string&) {});
  Pipeline pipeline = env.submit();
  UniqueFd peer = server.accept();
  write(peer, "one\n");
  await(pipeline, "lines", 1);
  reset(peer);
  EXPECT_TRUE(pipeline.wait(20s));  // its operators; the stop is heard too late to matter
  pipeline.stop();
  EXPECT_EQ(pipeline.report().outcome, Outcome::failed);
  EXPECT_EQ(pipeline.report().error,
            "ebb: cannot read 127.0.0.1:" + std::to_string(server.port()) + ": Connection reset by peer");
}

TEST(Socket, NobodyThereFailsBeforeTheFirstRecord) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  LocalEnvironment env("socket");
  env.from_socket(address).sink([](const std::string&) {});
  EXPECT_EQ(failure_of(env).error, "ebb: cannot connect to " + address + ": Connection refused");
  LocalEnvironment unknown("unknown");
  unknown.from_socket("no-such-host.invalid:1").sink([](const std::string&) {});
  EXPECT_THAT(failure_of(unknown).error, HasSubstr("cannot find the host of no-such-host.invalid:1"));
  LocalEnvironment wrong("wrong");
  for (const char* text : {"host", "host:", "host:port", "host:0", "host:65536", "host:1x", ""}) {
    EXPECT_THROW((void)wrong.from_socket(text), std::invalid_argument) << text;
  }
}

// Connections beyond the backlog of a server that takes none are not answered.
TEST(Socket, AConnectionThatIsNotAnsweredEndsInTimeOrAtAStop) {
  const Server server(0);
  std::vector<UniqueFd> queued;
  for (int i = 0; i < 4; ++i) {
    queued.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in at = loopback(server.port());
    const int connected = ::connect(queued.back().get(), generic(at), sizeof at);
    ASSERT_TRUE(connected == 0 || errno == EINPROGRESS);
  }
  LocalEnvironment env("socket");
  env.from_socket("127.0.0.1", server.port(), {.connect_timeout = 100ms}).sink([](const std::string&) {});
  EXPECT_THAT(failure_of(env).error, HasSubstr("Connection timed out"));
  LocalEnvironment other("stopped");
  other.from_socket("127.0.0.1", server.port(), {.connect_timeout = 1min}).sink([](const std::string&) {});
  Pipeline pipeline = other.submit();
  const BootTime begun = BootClock::now();
  pipeline.cancel();
  pipeline.wait();
  EXPECT_EQ(pipeline.report().outcome, Outcome::cancelled);
  EXPECT_LT(BootClock::now() - begun, 30s);
}

TEST(Socket, ListeningTakesOneConnectionAfterTheOther) {
  const int port = free_port();
  LocalEnvironment env("listens");
  auto lines = env.from_socket("127.0.0.1", port, {.listen = true})
                   .on_error(skip)
                   .name("clients")
                   .map([](std::string s) { return s; })
                   .name("lines")
                   .collect();
  Pipeline pipeline = env.submit();
  write(client(port), "one\nhalf");
  await(pipeline, "lines", 2);
  {
    UniqueFd rude = client(port);
    write(rude, "two\nlost");
    await(pipeline, "lines", 3);
    reset(rude);
  }
  await(pipeline, "clients", 4);
  const UniqueFd last = client(port);
  write(last, "three\nnot yet");
  await(pipeline, "lines", 4);
  pipeline.drain();
  EXPECT_EQ(pipeline.report().outcome, Outcome::drained);
  EXPECT_THAT(lines.get(), ElementsAre("one", "half", "two", "three"));
  EXPECT_EQ(op(pipeline.report(), "clients").skipped, 1u);
}

TEST(Socket, AnAddressInUseFailsBeforeTheFirstRecord) {
  const Server server;
  LocalEnvironment env("listens");
  env.from_socket("127.0.0.1", server.port(), {.listen = true}).sink([](const std::string&) {});
  EXPECT_EQ(failure_of(env).error,
            "ebb: cannot listen at 127.0.0.1:" + std::to_string(server.port()) + ": Address already in use");
}

}  // namespace
}  // namespace ebb
