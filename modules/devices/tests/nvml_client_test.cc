#include "ebb/devices/nvml_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include "ebb/base/files.h"
#include "ebb/base/unique_fd.h"
#include "support.h"

namespace ebb::devices {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::run_until;
using test::StubDriver;

int pidfd_of(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

class NvmlClientTest : public testing::Test {
 protected:
  Result<NvmlList> list(Duration deadline = seconds(5)) {
    std::optional<Result<NvmlList>> answer;
    client_->list(deadline, [&](Result<NvmlList> got) { answer = std::move(got); });
    EXPECT_FALSE(answer) << "called inside the call";
    EXPECT_TRUE(run_until(loop_, [&] { return answer.has_value(); }));
    return std::move(answer).value();
  }
  Result<GpuUsage> usage(const std::string& uuid, Duration deadline = seconds(5)) {
    std::optional<Result<GpuUsage>> answer;
    client_->usage(uuid, deadline, [&](Result<GpuUsage> got) { answer = std::move(got); });
    EXPECT_TRUE(run_until(loop_, [&] { return answer.has_value(); }));
    return std::move(answer).value();
  }

  boost::asio::io_context loop_;
  std::unique_ptr<NvmlClient> client_ = std::make_unique<NvmlClient>(loop_, EBB_TEST_NVML_HELPER);
};

// Defect 17 of the original: GPU 0 was lost in the text of nvidia-smi, and NVLink ignored.
TEST_F(NvmlClientTest, ListsEveryGpuWithItsLinks) {
  const StubDriver driver(
      "gpu 0 name=A100\ngpu 1\ngpu 2 pci=00000000:3B:00.0 minor=7\nlink 0 1 4\nnear 0 2 40\n");
  const auto seen = list();
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_EQ(seen->driver, "570.86.15");
  ASSERT_EQ(seen->gpus.size(), 3U);
  EXPECT_EQ(seen->gpus[0].name, "A100");
  EXPECT_EQ(seen->gpus[0].memory_mib, 81'920);
  EXPECT_EQ(seen->gpus[2].pci, "0000:3b:00.0");
  EXPECT_EQ(seen->gpus[2].minor, 7);
  EXPECT_EQ(seen->closeness, (std::vector<std::vector<int>>{{0, 400, 1}, {400, 0, 0}, {1, 0, 0}}));
}

TEST_F(NvmlClientTest, TellsMemoryAndEachProcessOnce) {
  const test::Sleeper one;
  const std::string pid = std::to_string(one.pid());
  const StubDriver driver("gpu 0\nprocess 0 " + pid + " 500\nprocess 0 " + pid + " 500 graphics\n");
  const auto seen = usage("GPU-00000000");
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_GE(seen->used_mib, 503);
  EXPECT_FALSE(seen->includes_reserved);
  EXPECT_EQ(seen->processes, (std::vector<GpuProcess>{{.pid = one.pid(), .mib = 500}}));
}

TEST_F(NvmlClientTest, OldDriverIsAskedInTheOldWay) {
  const StubDriver driver("gpu 0 reserved=400\nerror nvmlDeviceGetMemoryInfo_v2 13\n");
  const auto seen = usage("GPU-00000000");
  ASSERT_TRUE(seen);
  EXPECT_TRUE(seen->includes_reserved);
  EXPECT_EQ(seen->used_mib, 403);
}

TEST_F(NvmlClientTest, ManyProcessesFit) {
  std::string lines = "gpu 0\n";
  for (int i = 1; i <= 1000; ++i) lines += "process 0 " + std::to_string(4'000'000 + i) + " 1 stays\n";
  const StubDriver driver(lines);
  const auto seen = usage("GPU-00000000");
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_EQ(seen->processes.size(), 1000U);
}

TEST_F(NvmlClientTest, MigInstancesStandInPlaceOfTheirGpu) {
  const StubDriver driver("gpu 0\ngpu 1\nmig 1 uuid=MIG-a memory=10240\nmig 1 uuid=MIG-b memory=10240\n");
  const auto seen = list();
  ASSERT_TRUE(seen) << seen.error().message;
  ASSERT_EQ(seen->gpus.size(), 4U);
  EXPECT_EQ(seen->gpus[0].refused, "");
  EXPECT_THAT(seen->gpus[1].refused, testing::HasSubstr("MIG is on"));
  EXPECT_EQ(seen->gpus[3].kind, GpuKind::mig);
  EXPECT_EQ(seen->gpus[3].id, 3);
  EXPECT_EQ(seen->gpus[3].uuid, "MIG-b");
  EXPECT_EQ(seen->gpus[3].parent, 1);
  EXPECT_EQ(seen->gpus[3].minor, 1);
  EXPECT_EQ(seen->gpus[3].refused, "");
  EXPECT_TRUE(usage("MIG-b"));
}

TEST_F(NvmlClientTest, GpusThatCannotBeLeasedSayWhy) {
  const StubDriver driver("gpu 0 mode=2\ngpu 1\nprocess 1 4000001 5 mps stays\ngpu 2\nlost 2\n");
  const auto seen = list();
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_THAT(seen->gpus[0].refused, testing::HasSubstr("PROHIBITED"));
  EXPECT_THAT(seen->gpus[1].refused, testing::HasSubstr("MPS"));
  EXPECT_THAT(seen->gpus[2].refused, testing::HasSubstr("GPU is lost"));
}

TEST_F(NvmlClientTest, DriverErrorsComeAsTheDriversWords) {
  StubDriver driver("gpu 0\nlost 0\n");
  const auto lost = usage("GPU-00000000");
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Errc::io);
  EXPECT_THAT(lost.error().message, testing::HasSubstr("GPU is lost"));
  const auto missing = usage("GPU-7");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  driver.set("gpu 0\n");
  EXPECT_TRUE(usage("GPU-00000000")) << "a GPU that is back is not seen";
}

TEST_F(NvmlClientTest, NoDriverIsAnErrorThatSaysSoAndIsAskedAgain) {
  StubDriver driver("gpu 0\n");
  driver.remove();
  const auto without = list();
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, Errc::unavailable);
  EXPECT_THAT(without.error().message, testing::HasSubstr("Driver Not Loaded"));
  driver.set("gpu 0\n");
  EXPECT_TRUE(list()) << "a driver that came later is not seen";
}

TEST_F(NvmlClientTest, NoLibraryIsAnErrorThatSaysSo) {
  ::setenv("EBB_NVML_LIBRARY", "/nonexistent/libnvidia-ml.so.1", 1);
  const auto without = list();
  ::unsetenv("EBB_NVML_LIBRARY");
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, Errc::unavailable);
  EXPECT_THAT(without.error().message, testing::HasSubstr("--gpus none"));
}

TEST_F(NvmlClientTest, NoHelperIsAnErrorThatNamesIt) {
  client_ = std::make_unique<NvmlClient>(loop_, "/nonexistent/ebb-nvml");
  const auto without = list();
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, Errc::unavailable);
  EXPECT_THAT(without.error().message, testing::HasSubstr("/nonexistent/ebb-nvml"));
}

TEST_F(NvmlClientTest, HangingDriverHangsOnlyTheHelper) {
  StubDriver driver("gpu 0\ngpu 1\nhang gpu 0\n");
  std::vector<std::string> order;
  client_->usage("GPU-00000000", milliseconds(100), [&](Result<GpuUsage> got) {
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Errc::timeout);
    EXPECT_THAT(got.error().message, testing::HasSubstr("100 ms"));
    order.emplace_back("hung");
  });
  client_->usage("GPU-00000001", seconds(5), [&](Result<GpuUsage> got) {
    EXPECT_TRUE(got) << "the next call did not get a new helper";
    order.emplace_back("next");
  });
  ASSERT_TRUE(run_until(loop_, [&] { return order.size() == 2; }));
  EXPECT_EQ(order, (std::vector<std::string>{"hung", "next"}));
  EXPECT_TRUE(run_until(loop_, [&] { return client_->stuck() == 0; })) << "the killed helper is not reaped";
}

// Defect 19 of the original: two forks of nvidia-smi for each GPU and attempt.
TEST_F(NvmlClientTest, OneHelperAnswersAllCalls) {
  const StubDriver driver("gpu 0\ngpu 1\n");
  ASSERT_TRUE(list());
  const pid_t first = client_->helper_pid();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(usage(i % 2 == 0 ? "GPU-00000000" : "GPU-00000001"));
  ASSERT_TRUE(list());
  EXPECT_EQ(client_->helper_pid(), first);
}

TEST_F(NvmlClientTest, KilledHelperIsReplaced) {
  const StubDriver driver("gpu 0\n");
  ASSERT_TRUE(list());
  const pid_t first = client_->helper_pid();
  ASSERT_GT(first, 0);
  const UniqueFd watch(pidfd_of(first));
  ::kill(first, SIGKILL);
  pollfd gone{.fd = watch.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&gone, 1, 5000), 1);
  const auto after = list();
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, Errc::unavailable);
  EXPECT_TRUE(list());
  EXPECT_NE(client_->helper_pid(), first);
}

TEST_F(NvmlClientTest, HelperIsInItsOwnSessionWithNothingInherited) {
  const StubDriver driver("gpu 0\n");
  ASSERT_TRUE(list());
  EXPECT_EQ(::getsid(client_->helper_pid()), client_->helper_pid());
  std::size_t descriptors = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(client_->helper_pid()) + "/fd")) {
    if (entry.path().filename() != "0" && entry.path().filename() != "1" && entry.path().filename() != "2") {
      ADD_FAILURE() << "descriptor " << entry.path() << " -> " << std::filesystem::read_symlink(entry.path());
    }
    ++descriptors;
  }
  EXPECT_EQ(descriptors, 3U);
}

TEST_F(NvmlClientTest, DestroyedClientCallsNobodyAndLeavesNoHelper) {
  const StubDriver driver("gpu 0\nhang nvmlDeviceGetMemoryInfo_v2\n");
  bool called = false;
  client_->usage("GPU-00000000", seconds(5), [&](const Result<GpuUsage>&) { called = true; });
  client_->list(seconds(5), [&](const Result<NvmlList>&) { called = true; });
  ASSERT_TRUE(run_until(loop_, [&] { return client_->helper_pid() != 0; }));
  const UniqueFd watch(pidfd_of(client_->helper_pid()));
  ASSERT_TRUE(watch);
  client_.reset();
  pollfd gone{.fd = watch.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&gone, 1, 5000), 1);
  loop_.restart();
  loop_.run();  // returns: no handler waits for ever
  EXPECT_FALSE(called);
}

// The helper ends with its daemon even while it is in a call that never returns.
TEST(NvmlHelper, DiesWithADaemonThatIsKilled) {
  const StubDriver driver("gpu 0\nhang nvmlDeviceGetMemoryInfo_v2\n");
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  const UniqueFd reader(pipe_ends[0]);
  UniqueFd writer(pipe_ends[1]);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    boost::asio::io_context loop;
    NvmlClient client(loop, EBB_TEST_NVML_HELPER);
    client.list(seconds(5), [&](const Result<NvmlList>&) {
      const pid_t helper = client.helper_pid();
      if (::write(writer.get(), &helper, sizeof helper) != sizeof helper) ::_exit(1);
    });
    client.usage("GPU-00000000", seconds(60), [](const Result<GpuUsage>&) {});
    loop.run();
    ::_exit(0);
  }
  pid_t helper = 0;
  ASSERT_EQ(::read(reader.get(), &helper, sizeof helper), static_cast<ssize_t>(sizeof helper));
  const UniqueFd watch(pidfd_of(helper));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  pollfd gone{.fd = watch.get(), .events = POLLIN, .revents = 0};
  EXPECT_TRUE(!watch || ::poll(&gone, 1, 5000) == 1) << "ebb-nvml outlived its daemon";
}

}  // namespace
}  // namespace ebb::devices
