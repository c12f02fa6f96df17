// What outlives the kill of an ended job, when its keeper is gone too and a new daemon starts.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>

#include <filesystem>
#include <optional>

#include "daemon_fixture.h"
#include "ebb/base/files.h"
#include "ebb/model/json.h"
#include "hanging_file_system.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

class Survivors : public testing::DaemonTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(DaemonTest::SetUp());
    config_.gpus.use = "declared:1";
    config_.jobs.kill_timeout = 100ms;
    std::filesystem::create_directory(folder_ / "hang");
    hanging_.emplace(folder_ / "hang");
    if (!hanging_->mounted()) GTEST_SKIP() << "no FUSE here";
  }
  void TearDown() override {
    hanging_.reset();
    DaemonTest::TearDown();
  }
  // A job that has the GPU, and that no kill ends before the file system is released.
  Task<JobId> start_hanging(Daemon& daemon, const Caller& who) {
    Submission request = job({"/bin/cat", (folder_ / "hang/file").string()});
    request.request.gpus = 1;
    const auto submitted = co_await daemon.submit(who, std::move(request));
    const JobId id = submitted->job.id;
    (void)co_await in_state(daemon, who, id, model::JobState::running);
    hanging_->take_request();
    co_return id;
  }
  // Of the one GPU of this test.
  static Task<model::DeviceState> gpu(Daemon& daemon, const Caller& who) {
    const model::Devices devices = co_await daemon.devices(who);
    co_return devices.gpus.at(0).state;
  }
  // What the GPU is once it is free and the attempt's folder has gone, or after 20 s.
  Task<model::DeviceState> let_go(Daemon& daemon, const Caller& who, JobId id) const {
    const BootTime deadline = BootClock::now() + 20s;
    auto state = co_await gpu(daemon, who);
    while ((state != model::DeviceState::free || std::filesystem::exists(attempt_of(id))) &&
           BootClock::now() < deadline) {
      const auto now = daemon.job(who, id);
      (void)co_await daemon.changed(who, id, now->state, 10ms);
      state = co_await gpu(daemon, who);
    }
    co_return state;
  }
  [[nodiscard]] std::filesystem::path attempt_of(JobId id) const {
    return config_.state.dir / "attempts" / (id.str() + ".1");
  }
  // Whether anybody could take that GPU's lock.
  [[nodiscard]] bool lock_is_free() const {
    std::size_t found = 0;
    bool free = true;
    for (const auto& file : std::filesystem::directory_iterator(config_.state.dir / "locks")) {
      const auto lock = open_file(file.path(), O_RDWR);
      EXPECT_TRUE(lock.ok());
      ++found;
      free = free && lock && ::flock(lock->get(), LOCK_EX | LOCK_NB) == 0;
    }
    EXPECT_EQ(found, 1U);
    return free;
  }

  std::optional<process::testing::HangingFileSystem> hanging_;
};

TEST_F(Survivors, OfAnEndedJobWithoutAKeeperAreWatchedUntilTheyAreGone) {
  JobId id;
  pid_t keeper = -1;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        id = co_await start_hanging(daemon, who);
        CancelRequest cancel;
        cancel.by = "owner";
        cancel.grace = 0s;
        (void)co_await daemon.cancel(who, id, cancel);
        const model::Report report = co_await ended(daemon, who, id);
        EXPECT_FALSE(report.complete) << model::json_text(report);
        keeper = keeper_of(id);
      },
      true);
  ASSERT_NO_FATAL_FAILURE(kill_and_reap(keeper));
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    // Whether one look gave the GPU back shows by now.
    const auto unchanged = co_await daemon.changed(who, id, model::JobState::cancelled, 300ms);
    EXPECT_TRUE(unchanged.ok());
    const auto held = co_await gpu(daemon, who);
    EXPECT_EQ(held, model::DeviceState::quarantined) << "a process of the job is still there";
    EXPECT_TRUE(std::filesystem::exists(attempt_of(id)));
    hanging_->release();
    const auto now = co_await let_go(daemon, who, id);
    EXPECT_EQ(now, model::DeviceState::free);
    EXPECT_FALSE(std::filesystem::exists(attempt_of(id)));
  });
}

// Another daemon of this machine would find the GPU's lock free, and lease it.
TEST_F(Survivors, AreLockedOutWhenTheirKeeperDiedBeforeItHandedItsLocksOver) {
  JobId id;
  pid_t keeper = -1;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        id = co_await start_hanging(daemon, who);
        keeper = keeper_of(id);
      },
      true);
  ASSERT_GT(keeper, 0);
  ::kill(keeper, SIGSTOP);
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const model::Report report = co_await ended(daemon, who, id);
    EXPECT_EQ(report.reason.kind, model::StopKind::keeper_lost) << model::json_text(report);
    EXPECT_FALSE(report.complete) << model::json_text(report);
    EXPECT_FALSE(lock_is_free());
    hanging_->release();
    const auto now = co_await let_go(daemon, who, id);
    EXPECT_EQ(now, model::DeviceState::free);
    EXPECT_TRUE(lock_is_free());
  });
  ::waitpid(keeper, nullptr, 0);
}

}  // namespace
}  // namespace ebb::daemon
