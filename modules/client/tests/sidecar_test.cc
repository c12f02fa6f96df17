#include "ebb/client/sidecar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "ebb/base/files.h"

namespace ebb::client {
namespace {

using testing::HasSubstr;

TEST(SidecarOptions, NameTheirProcess) {
  const auto sidecars = parse_sidecars({"reward=python3 r.py --x=[a,b]", "b=true"}, {"reward=/health"});
  ASSERT_TRUE(sidecars);
  ASSERT_EQ(sidecars->size(), 2U);
  EXPECT_EQ((*sidecars)[0].name, "reward");
  EXPECT_EQ((*sidecars)[0].command, "python3 r.py --x=[a,b]");
  EXPECT_EQ((*sidecars)[0].ready_path, "/health");
  EXPECT_EQ((*sidecars)[1].ready_path, std::nullopt);
}

TEST(SidecarOptions, AreRefusedWhenTheyMakeNoSense) {
  EXPECT_FALSE(parse_sidecars({"python3 r.py"}, {}));
  EXPECT_FALSE(parse_sidecars({"=x"}, {}));
  EXPECT_FALSE(parse_sidecars({"a="}, {}));
  EXPECT_FALSE(parse_sidecars({"a/b=x"}, {}));
  EXPECT_FALSE(parse_sidecars({"a=x", "a=y"}, {}));
  EXPECT_FALSE(parse_sidecars({"a=x"}, {"b=/"}));
  EXPECT_FALSE(parse_sidecars({"a=x"}, {"a=health"}));
  EXPECT_FALSE(parse_sidecars({"a=x"}, {"a=/he alth"}));
}

TEST(HeldPort, IsNobodyElsesUntilItIsReleased) {
  auto port = HeldPort::pick();
  ASSERT_TRUE(port);
  const auto bind_it = [&] {
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port->number()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  };
  EXPECT_FALSE(bind_it());
  port->release();
  EXPECT_TRUE(bind_it());
}

TEST(SidecarFolder, IsRemovedAtItsEndAndAfterAKill) {
  std::string abandoned;
  {
    // What a run that was killed leaves: the folder, and a lock that nobody holds.
    auto folder = SidecarFolder::make();
    ASSERT_TRUE(folder);
    abandoned = folder->path() + "0";
    std::filesystem::create_directories(abandoned + "/x");
    ASSERT_TRUE(replace_file(abandoned + "/lock", "", 0600));
    EXPECT_TRUE(std::filesystem::exists(folder->path()));
  }
  std::string living;
  {
    auto folder = SidecarFolder::make();
    ASSERT_TRUE(folder);
    living = folder->path();
    EXPECT_FALSE(std::filesystem::exists(abandoned));
    EXPECT_TRUE(SidecarFolder::make());
    EXPECT_TRUE(std::filesystem::exists(living)) << "a folder in use was taken for an abandoned one";
  }
  EXPECT_FALSE(std::filesystem::exists(living));
}

class SidecarTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = SidecarFolder::make();
    ASSERT_TRUE(folder);
    folder_.emplace(std::move(*folder));
    own_ = folder_->path() + "/x";
    ASSERT_EQ(::mkdir(own_.c_str(), 0700), 0);
  }
  void start(const std::string& command) {
    auto started = Sidecar::start(
        io_,
        {.name = "x", .command = command, .folder = own_, .keeper = EBB_TEST_KEEPER, .lock = folder_->lock()},
        [this] { io_.stop(); });
    ASSERT_TRUE(started) << started.error().message;
    sidecar_ = std::move(*started);
  }
  // Runs the loop until it holds: looked at after each change, and now and then for what is no change of
  // ours.
  template <typename Condition>
  [[nodiscard]] bool reach(Condition condition) {
    const BootTime deadline = BootClock::now() + std::chrono::seconds(20);
    while (!condition() && BootClock::now() < deadline) {
      io_.restart();
      io_.run_for(std::chrono::milliseconds(20));
    }
    return condition();
  }
  [[nodiscard]] bool reach_end() {
    return reach([this] { return sidecar_->end().has_value(); });
  }

  boost::asio::io_context io_;
  std::optional<SidecarFolder> folder_;
  std::string own_;
  std::unique_ptr<Sidecar> sidecar_;
};

TEST_F(SidecarTest, RunsAndIsStoppedByTerm) {
  start("exec sleep 1000");
  ASSERT_TRUE(reach([this] { return sidecar_->running(); }));
  sidecar_->stop(std::chrono::seconds(2));
  ASSERT_TRUE(reach_end());
  EXPECT_EQ(sidecar_->end_text(), "SIGTERM");
}

TEST_F(SidecarTest, ThatIgnoresTermIsKilledAfterItsGrace) {
  start("trap '' TERM; echo ready; while :; do sleep 1000; done");
  ASSERT_TRUE(reach([this] { return sidecar_->last_output(1) == "ready"; }));
  sidecar_->stop(std::chrono::milliseconds(50));
  ASSERT_TRUE(reach_end());
  EXPECT_EQ(sidecar_->end_text(), "SIGKILL");
}

TEST_F(SidecarTest, ShowsTheEndOfItsOutput) {
  start("echo one; echo two; echo three >&2; exit 3");
  ASSERT_TRUE(reach_end());
  EXPECT_EQ(sidecar_->end_text(), "exit code 3");
  EXPECT_EQ(sidecar_->last_output(2), "two\nthree");
}

// Defect 22 of the original: pipes that nobody reads, so that the side process stalls.
TEST_F(SidecarTest, MayWriteMoreThanAPipeHolds) {
  start("head -c 20000000 /dev/zero; exit 0");
  ASSERT_TRUE(reach_end());
  EXPECT_EQ(sidecar_->end_text(), "exit code 0");
}

TEST_F(SidecarTest, EndsWhenItsOwnerLetsGo) {
  start("echo $$ > " + own_ + "/pid; exec sleep 1000");
  const std::string file = own_ + "/pid";
  std::string pid;
  ASSERT_TRUE(reach([&] {
    const auto text = read_file(file);
    if (text) pid = *text;
    if (!text) io_.run_for(std::chrono::milliseconds(5));
    return pid.ends_with('\n');
  }));
  pid.pop_back();
  sidecar_.reset();
  // Its keeper ends the process, then itself: then nobody is in /proc under that number.
  const BootTime deadline = BootClock::now() + std::chrono::seconds(20);
  while (std::filesystem::exists("/proc/" + pid) && BootClock::now() < deadline) {
    io_.restart();
    io_.run_for(std::chrono::milliseconds(5));
  }
  EXPECT_FALSE(std::filesystem::exists("/proc/" + pid));
}

}  // namespace
}  // namespace ebb::client
