#include "ebb/devices/watch.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "support.h"

namespace ebb::devices {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::run_until;
using test::StubDriver;
using Kind = GpuVerdict::Kind;

class DeviceWatchTest : public testing::Test {
 protected:
  DeviceWatchTest() { gpu_.uuid = "GPU-00000000"; }
  std::unique_ptr<DeviceWatch> watch(Duration interval) {
    return watch_gpu(
        loop_, checker_, *locks_, gpu_,
        [this](const GpuVerdict& verdict) {
          ++looks_;
          last_ = verdict.kind;
        },
        interval);
  }

  boost::asio::io_context loop_;
  NvmlClient nvml_{loop_, EBB_TEST_NVML_HELPER};
  BaselineTable table_;
  GpuChecker checker_{loop_, nvml_, table_, GpuRules{}};
  test::TempDir folder_;
  Result<LockDirectory> locks_ = LockDirectory::open_private(folder_.path());
  Gpu gpu_;
  int looks_ = 0;
  Kind last_ = Kind::unknown;
};

// Defect 6 of the original: a GPU that was busy from outside armed no retry, and the queue slept for ever.
TEST_F(DeviceWatchTest, GpuThatIsBusyFromOutsideIsSeenToComeFree) {
  test::Sleeper stranger;
  const StubDriver driver("gpu 0\nprocess 0 " + std::to_string(stranger.pid()) + " 500\n");
  const auto watching = watch(milliseconds(20));
  ASSERT_TRUE(run_until(loop_, [&] { return looks_ >= 3; }));
  EXPECT_EQ(last_, Kind::outside);
  stranger.end();
  ASSERT_TRUE(run_until(loop_, [&] { return last_ == Kind::free; }));
}

TEST_F(DeviceWatchTest, EndOfTheForeignProcessIsNoticedWithoutWaitingForTheInterval) {
  test::Sleeper stranger;
  const StubDriver driver("gpu 0\nprocess 0 " + std::to_string(stranger.pid()) + " 500\n");
  const auto watching = watch(hours(1));
  ASSERT_TRUE(run_until(loop_, [&] { return looks_ == 1; }));
  stranger.end();
  ASSERT_TRUE(run_until(loop_, [&] { return last_ == Kind::free; }));
}

TEST_F(DeviceWatchTest, EndsWithTheVerdictThatItIsFreeAndWakesNobodyAfterwards) {
  const StubDriver driver("gpu 0\n");
  const auto watching = watch(milliseconds(1));
  ASSERT_TRUE(run_until(loop_, [&] { return last_ == Kind::free; }));
  loop_.restart();
  loop_.run();  // returns: nothing is waited for
  EXPECT_EQ(looks_, 1);
}

TEST_F(DeviceWatchTest, DestroyedWatchTellsNobody) {
  const StubDriver driver("gpu 0 used=9000\n");
  auto watching = watch(milliseconds(1));
  ASSERT_TRUE(run_until(loop_, [&] { return looks_ >= 2; }));
  watching.reset();
  const int before = looks_;
  loop_.restart();
  loop_.run();
  EXPECT_EQ(looks_, before);
}

TEST_F(DeviceWatchTest, MayBeDestroyedByWhomItTells) {
  const StubDriver driver("gpu 0 used=9000\n");
  std::unique_ptr<DeviceWatch> watching;
  watching = watch_gpu(loop_, checker_, *locks_, gpu_, [&](const GpuVerdict&) {
    ++looks_;
    watching.reset();
  });
  loop_.restart();
  loop_.run();
  EXPECT_EQ(looks_, 1);
}

TEST_F(DeviceWatchTest, DeviceIsNotFreeWhileSomebodyHoldsItsLock) {
  const StubDriver driver("gpu 0\n");
  auto lock = locks_->lock(gpu_lock_name(gpu_));
  auto port_lock = locks_->lock(port_lock_name(1));
  ASSERT_TRUE(lock && port_lock);
  int port_looks = 0;
  const auto watching = watch(milliseconds(1));
  const auto watching_port =
      watch_port(loop_, *locks_, 1, [&](const PortVerdict&) { ++port_looks; }, milliseconds(1));
  loop_.restart();
  constexpr int kTurns = 40;
  for (int i = 0; i < kTurns; ++i) loop_.run_one();
  EXPECT_EQ(looks_, 0);
  EXPECT_EQ(port_looks, 0);
  lock->close();
  port_lock->close();
  ASSERT_TRUE(run_until(loop_, [&] { return last_ == Kind::free && port_looks == 1; }));
}

TEST_F(DeviceWatchTest, PortIsSeenToComeFreeWhenItsListenerIsKilled) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t server = ::fork();
  if (server == 0) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 || ::listen(fd, 1) != 0)
      ::_exit(1);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    const std::uint16_t port = ntohs(address.sin_port);
    if (::write(ends[1], &port, sizeof port) != sizeof port) ::_exit(1);
    for (;;) ::pause();
  }
  std::uint16_t port = 0;
  ASSERT_EQ(::read(ends[0], &port, sizeof port), static_cast<ssize_t>(sizeof port));
  std::vector<std::string> seen;
  const auto watching = watch_port(
      loop_, *locks_, port, [&](const PortVerdict& verdict) { seen.push_back(verdict.text); }, seconds(1));
  ASSERT_TRUE(run_until(loop_, [&] { return seen.size() == 1; }));
  EXPECT_THAT(seen[0], testing::HasSubstr("pid " + std::to_string(server)));
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
  ASSERT_TRUE(run_until(loop_, [&] { return seen.back().starts_with("no listener"); }));
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace ebb::devices
