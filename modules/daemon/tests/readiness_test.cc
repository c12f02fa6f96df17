// Whose a listener on a job's port is, also while its process is just dying.
#include "readiness.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <optional>
#include <set>

#include "ebb/base/unique_fd.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::tcp;

class ReadinessTest : public ::testing::Test {
 protected:
  // On the port of this test; the first one chooses it.
  UniqueFd listen() {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    return fd;
  }
  // Listens, and no process has it: it is in a message that nobody reads, as the socket of a process that has
  // let go of its descriptors and is not gone yet.
  void listen_adrift() {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    adrift_ = UniqueFd(pair[0]);
    const UniqueFd sender(pair[1]);
    const UniqueFd listener = listen();
    char byte = 0;
    iovec data{.iov_base = &byte, .iov_len = 1};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = listener.get();
    std::copy_n(reinterpret_cast<const char*>(&number), sizeof number,
                reinterpret_cast<char*>(CMSG_DATA(header)));
    ASSERT_EQ(::sendmsg(sender.get(), &message, 0), 1);
  }

  void ask() {
    readiness_.emplace(io_,
                       Readiness::Question{.path = "/ready",
                                           .port = port_,
                                           .timeout = 20s,
                                           .is_own = [this](const Listener&) { return own_; }},
                       [this](const Result<void>& answer) {
                         answer_ = answer ? std::string("ready") : answer.error().message;
                       });
  }
  // What was answered; nothing after `limit`.
  std::optional<std::string> answer(Duration limit) {
    const BootTime deadline = BootClock::now() + limit;
    while (!answer_ && BootClock::now() < deadline) io_.run_one_for(20ms);
    return answer_;
  }
  // Answers each request by 200.
  void serve(UniqueFd listener) {
    acceptor_.emplace(io_, tcp::v4(), listener.release());
    accept();
  }

  asio::io_context io_;
  std::uint16_t port_ = 0;
  bool own_ = false;
  UniqueFd adrift_;

 private:
  void accept() {
    acceptor_->async_accept([this](boost::system::error_code failure, tcp::socket socket) {
      if (failure) return;
      auto peer = std::make_shared<tcp::socket>(std::move(socket));
      static constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\n\r\n";
      asio::async_write(*peer, asio::buffer(kAnswer), [peer](boost::system::error_code, std::size_t) {});
      accept();
    });
  }

  std::optional<Readiness> readiness_;
  std::optional<std::string> answer_;
  std::optional<tcp::acceptor> acceptor_;
};

TEST_F(ReadinessTest, AListenerOfAnotherProcessIsRefusedAtOnce) {
  const UniqueFd stranger = listen();
  ask();
  const auto said = answer(20s);
  ASSERT_TRUE(said);
  EXPECT_NE(said->find("is taken on 127.0.0.1 by a process that is not of this job"), std::string::npos)
      << *said;
  EXPECT_NE(said->find("(pid " + std::to_string(::getpid()) + ")"), std::string::npos) << *said;
}

// A job whose tree is just being killed must not be told that a stranger has its port.
TEST_F(ReadinessTest, AListenerThatNoProcessHasIsLookedAtAgain) {
  listen_adrift();
  ask();
  EXPECT_EQ(answer(100ms), std::nullopt);
  adrift_.reset();
  own_ = true;
  serve(listen());
  EXPECT_EQ(answer(20s), "ready");
}

TEST_F(ReadinessTest, AListenerThatStaysWithoutAVisibleProcessIsRefused) {
  listen_adrift();
  ask();
  const auto said = answer(10s);  // less than the question's own limit
  ASSERT_TRUE(said);
  EXPECT_NE(said->find("is taken on 127.0.0.1"), std::string::npos) << *said;
}

}  // namespace
}  // namespace ebb::daemon
