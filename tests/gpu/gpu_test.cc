// What only a real GPU can show; run by tests/gpu/run. Programs (ebb-nvml, gpu_hold) stand beside this one.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "ebb/base/programs.h"
#include "ebb/base/text.h"
#include "ebb/base/unique_fd.h"
#include "ebb/devices/devices.h"

namespace ebb::devices {
namespace {

using Kind = GpuVerdict::Kind;
using std::chrono::seconds;

constexpr std::int64_t kHoldMib = 512;

// A process that holds memory of one GPU.
class Holder {
 public:
  explicit Holder(const Gpu& gpu) {
    const auto program = find_program("gpu_hold");
    int in[2];
    int out[2];
    if (!program || ::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) return;
    stdin_.reset(in[1]);
    const UniqueFd child_in(in[0]);
    UniqueFd child_out(out[1]);
    const UniqueFd output(out[0]);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(child_in.get(), STDIN_FILENO);
      ::dup2(child_out.get(), STDOUT_FILENO);
      ::setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
      ::setenv("CUDA_VISIBLE_DEVICES", cuda_name(gpu).c_str(), 1);
      ::execl(program->c_str(), "gpu_hold", std::to_string(kHoldMib).c_str(), nullptr);
      ::_exit(127);
    }
    child_out.reset();
    char line[16] = {};
    holding_ = ::read(output.get(), line, sizeof line - 1) > 0 && std::string_view(line) == "holding\n";
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] bool holding() const { return holding_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  UniqueFd stdin_;
  bool holding_ = false;
};

class RealGpu : public testing::Test {
 protected:
  void SetUp() override {
    const auto helper = find_program("ebb-nvml");
    ASSERT_TRUE(helper) << helper.error().message;
    nvml_ = std::make_unique<NvmlClient>(loop_, *helper);
    rules_.compare_pids = in_initial_pid_namespace();
    checker_ = std::make_unique<GpuChecker>(loop_, *nvml_, table_, rules_, seconds(10));
    std::optional<Result<NvmlList>> answer;
    nvml_->list(seconds(60), [&](Result<NvmlList> got) { answer = std::move(got); });
    wait([&] { return answer.has_value(); });
    ASSERT_TRUE(answer && *answer) << (answer ? answer->error().message : "no answer");
    list_ = **answer;
    for (const Gpu& gpu : list_.gpus) {
      if (gpu.refused.empty()) gpu_ = gpu;
    }
    ASSERT_FALSE(gpu_.uuid.empty()) << "no GPU of this machine can be leased";
  }
  void wait(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (!holds() && std::chrono::steady_clock::now() < deadline) {
      loop_.restart();
      loop_.run_one_until(deadline);
    }
    ASSERT_TRUE(holds()) << "no answer in a minute";
  }
  GpuVerdict check(CheckPurpose purpose, pid_t job = 0) {
    std::optional<GpuVerdict> verdict;
    checker_->check(
        gpu_, purpose, [job](pid_t pid) { return pid == job; },
        [&](GpuVerdict got) { verdict = std::move(got); });
    wait([&] { return verdict.has_value(); });
    return verdict ? *verdict : GpuVerdict{};
  }
  GpuVerdict wait_free(Duration deadline) {
    std::optional<GpuVerdict> verdict;
    checker_->wait_free(gpu_, deadline, {}, [&](GpuVerdict got) { verdict = std::move(got); });
    wait([&] { return verdict.has_value(); });
    return verdict ? *verdict : GpuVerdict{};
  }

  boost::asio::io_context loop_;
  std::unique_ptr<NvmlClient> nvml_;
  BaselineTable table_;
  GpuRules rules_;
  std::unique_ptr<GpuChecker> checker_;
  NvmlList list_;
  Gpu gpu_;  // the last one that may be leased
};

TEST_F(RealGpu, ListEqualsThatOfNvidiaSmi) {
  std::FILE* smi = ::popen(
      "nvidia-smi --query-gpu=index,uuid,memory.total,driver_version "
      "--format=csv,noheader,nounits",
      "r");
  ASSERT_NE(smi, nullptr);
  std::size_t count = 0;
  char line[512];
  while (std::fgets(line, sizeof line, smi) != nullptr) {
    std::string text(line);
    std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
    const auto fields = split(text, ',');
    ASSERT_EQ(fields.size(), 4U) << line;
    ASSERT_LT(count, list_.gpus.size());
    const Gpu& gpu = list_.gpus[count++];
    EXPECT_EQ(std::to_string(gpu.id), fields[0]);
    EXPECT_EQ(gpu.uuid, fields[1]);
    EXPECT_EQ(std::to_string(gpu.memory_mib), fields[2]);
    EXPECT_EQ(list_.driver, fields[3]);
    EXPECT_GE(gpu.minor, 0);
    std::printf("GPU %d: %s, %s, NUMA node %d, /dev/nvidia%d %s\n", gpu.id, gpu.name.c_str(), gpu.pci.c_str(),
                gpu.numa_node, gpu.minor, gpu.refused.c_str());
  }
  ASSERT_EQ(::pclose(smi), 0);
  EXPECT_GT(count, 0U);
}

TEST_F(RealGpu, IdleOneIsFreeAndHasABaseline) {
  const auto verdict = check(CheckPurpose::before_lease);
  EXPECT_EQ(verdict.kind, Kind::free) << verdict.text << "; is somebody using the GPU?";
  EXPECT_TRUE(table_.find(gpu_.uuid, list_.driver));
  std::printf("%s\n", verdict.text.c_str());
}

TEST_F(RealGpu, ProcessWithMemoryIsSeenAndNamed) {
  ASSERT_EQ(check(CheckPurpose::before_lease).kind, Kind::free);
  const Holder holder(gpu_);
  ASSERT_TRUE(holder.holding()) << "gpu_hold could not take memory";
  const auto as_job = check(CheckPurpose::at_release, holder.pid());
  EXPECT_EQ(as_job.kind, Kind::by_job) << as_job.text;
  EXPECT_GE(as_job.used_mib, kHoldMib);
  std::printf("%s\n", as_job.text.c_str());
  const auto as_stranger = check(CheckPurpose::before_lease);
  EXPECT_EQ(as_stranger.kind, Kind::outside) << as_stranger.text;
  if (rules_.compare_pids) {
    EXPECT_EQ(as_job.pids, std::vector<pid_t>{holder.pid()});
    ASSERT_EQ(as_stranger.outside.size(), 1U);
    EXPECT_EQ(as_stranger.outside[0].pid, holder.pid());
    EXPECT_GE(as_stranger.outside[0].mib, kHoldMib);
  }
}

TEST_F(RealGpu, KilledProcessLeavesItVerifiedFreeWithinTheTimeout) {
  ASSERT_EQ(check(CheckPurpose::before_lease).kind, Kind::free);
  double slowest = 0;
  for (int run = 0; run < 5; ++run) {
    Holder holder(gpu_);
    ASSERT_TRUE(holder.holding());
    ASSERT_GE(check(CheckPurpose::before_lease).used_mib, kHoldMib);
    const auto begin = std::chrono::steady_clock::now();
    holder.kill();
    const auto verdict = wait_free(seconds(10));
    const double took =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_EQ(verdict.kind, Kind::free) << verdict.text;
    slowest = std::max(slowest, took);
    std::printf("kill -9 to verified free: %.1f ms; %s\n", took, verdict.text.c_str());
  }
  std::printf("slowest of 5: %.1f ms\n", slowest);
}

}  // namespace
}  // namespace ebb::devices
