#include "output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cerrno>
#include <csignal>
#include <vector>

namespace ebb::client {
namespace {

struct Ends {
  UniqueFd reader, writer;
};
Ends make_pipe() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {.reader = UniqueFd(ends[0]), .writer = UniqueFd(ends[1])};
}
Ends make_sockets() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {.reader = UniqueFd(ends[0]), .writer = UniqueFd(ends[1])};
}

void start_drain(boost::asio::io_context& io, Output& output, bool& drained) {
  boost::asio::co_spawn(
      io,
      [](Output& out, bool& done) -> Task<void> {
        co_await out.drain(0);
        done = true;
      }(output, drained),
      boost::asio::detached);
}

// Far more than a pipe or a socket holds, in pieces, to a reader that first does not read at all.
void expect_all_arrives(Ends ends) {
  boost::asio::io_context io;
  Output output(io, ends.writer.get(), nullptr);
  std::string sent;
  for (int i = 0; i < 200'000; ++i) {
    const std::string line = std::to_string(i) + "\n";
    sent += line;
    output.write(line);  // would hang here if it could block
  }
  EXPECT_EQ(::fcntl(ends.writer.get(), F_GETFL) & O_NONBLOCK, 0) << "the shell's descriptor was changed";
  bool drained = false;
  start_drain(io, output, drained);
  std::string got;
  std::array<char, 65536> buffer{};
  ASSERT_EQ(::fcntl(ends.reader.get(), F_SETFL, O_NONBLOCK), 0);
  const BootTime deadline = BootClock::now() + std::chrono::seconds(20);
  while (got.size() < sent.size() && BootClock::now() < deadline) {
    const ssize_t size = ::read(ends.reader.get(), buffer.data(), buffer.size());
    if (size > 0) got.append(buffer.data(), static_cast<std::size_t>(size));
    if (size < 0) io.run_one_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
  io.run_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(drained);
}

TEST(Output, NeverBlocksOnAPipeAndLosesNothing) { expect_all_arrives(make_pipe()); }
TEST(Output, NeverBlocksOnASocketAndLosesNothing) { expect_all_arrives(make_sockets()); }

TEST(Output, RestsForAsLongAsItsReader) {
  boost::asio::io_context io;
  const Ends ends = make_pipe();
  Output output(io, ends.writer.get(), nullptr);
  output.write(std::string(1 << 20, 'x'));
  bool drained = false;
  start_drain(io, output, drained);
  int steps = 0;
  while (steps < 100 && io.poll_one() > 0) ++steps;
  EXPECT_LT(steps, 100) << "it is busy, and nothing was read";
  EXPECT_FALSE(drained);
}

TEST(Output, TellsOnceThatNobodyReads) {
  ::signal(SIGPIPE, SIG_IGN);
  boost::asio::io_context io;
  Ends ends = make_pipe();
  std::vector<int> told;
  Output output(io, ends.writer.get(), [&told](int error) { told.push_back(error); });
  output.write("a");
  EXPECT_FALSE(output.closed());
  ends.reader.reset();
  output.write("b");
  output.write("c");
  EXPECT_TRUE(output.closed());
  EXPECT_EQ(told, std::vector<int>{EPIPE});
  ::signal(SIGPIPE, SIG_DFL);
}

TEST(Output, TellsWhyItCannotWrite) {
  boost::asio::io_context io;
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  std::vector<int> told;
  Output output(io, full.get(), [&told](int error) { told.push_back(error); });
  output.write("a");
  EXPECT_TRUE(output.closed());
  EXPECT_EQ(told, std::vector<int>{ENOSPC});
}

TEST(Output, OfAClosedDescriptorIsThrownAway) {
  boost::asio::io_context io;
  Output output(io, -1, nullptr);
  output.write("a");
  EXPECT_TRUE(output.closed());
}

}  // namespace
}  // namespace ebb::client
