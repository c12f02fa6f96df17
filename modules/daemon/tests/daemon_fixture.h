#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ebb/base/unique_fd.h"
#include "ebb/daemon/daemon.h"
#include "ebb/model/job.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/proc.h"

namespace ebb::daemon::testing {

using namespace std::chrono_literals;

/// Twenty ports that no other test of this machine uses while this lives: tests run beside each other, and
/// each has listeners of its own. Claimed by an abstract socket's name, which ends with its process
/// (tests/integration/harness.py claims the same way). Below 27000, from where on side processes have theirs.
class PortBlock {
 public:
  PortBlock() {
    constexpr int kBlocks = 350;
    for (int tried = 0; tried < kBlocks; ++tried) {
      first_ = 20000 + 20 * ((::getpid() + tried) % kBlocks);
      claim_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const std::string name = "ebb-test-ports-" + std::to_string(first_);
      sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
      name.copy(address.sun_path + 1, name.size());
      const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
      if (::bind(claim_.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) return;
    }
    ADD_FAILURE() << "every block of ports is another test's";
  }
  [[nodiscard]] std::string range() const {
    return std::to_string(first_) + '-' + std::to_string(first_ + 19);
  }

 private:
  int first_ = 0;
  UniqueFd claim_;
};

/// A daemon in a folder of its own, with declared GPUs, whose only caller is this process.
class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/ebb-daemon-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    ::setenv("EBB_LOCK_DIR", (folder_ / "locks").c_str(), 1);
    config_ = default_config(::geteuid());
    config_.state.dir = folder_ / "state";
    config_.server.socket = folder_ / "ebb.sock";
    config_.server.listen = std::nullopt;
    config_.gpus.use = "declared:4";
    config_.ports.range = ports_.range();
    config_.jobs.scratch = folder_ / "scratch";
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    near_ = UniqueFd(pair[0]);
    far_ = UniqueFd(pair[1]);
  }
  void TearDown() override {
    remove_groups();
    std::error_code ignored;
    // Where a test left a daemon that did not end: what its link to memory leads to.
    const auto attempts = std::filesystem::read_symlink(config_.state.dir / "attempts", ignored);
    if (!ignored) std::filesystem::remove_all(attempts, ignored);
    std::filesystem::remove_all(folder_, ignored);
  }

  // A daemon that leaves its jobs to their keepers leaves its base groups, for the next one of its state.
  void remove_groups() const {
    const auto mounts = process::find_cgroup_mounts();
    ASSERT_TRUE(mounts.ok());
    const std::string name = process::cgroup_base_name(config_.state.dir.string());
    for (const auto& hierarchy : {mounts->unified, mounts->memory_v1, mounts->pids_v1}) {
      if (!hierarchy) continue;
      for (const std::string& parent : {hierarchy->mount, hierarchy->mount + hierarchy->own}) {
        const auto removed = process::remove_cgroup(parent + "/" + name, BootClock::now() + 10s);
        EXPECT_TRUE(removed.ok()) << removed.error().message;
      }
    }
  }

  Caller caller(const Daemon& daemon) {
    auto peer = process::peer_credentials(near_.get());
    EXPECT_TRUE(peer.ok());
    auto caller = daemon.caller_of_peer(std::make_shared<const process::PeerCredentials>(std::move(*peer)));
    EXPECT_TRUE(caller.ok());
    return *caller;
  }

  // Runs `body` with a daemon and then ends the daemon; fails when that takes longer than a test may.
  template <typename Body>
  void with_daemon(Body body, bool keep = false) {
    boost::asio::io_context io;
    bool finished = false;
    boost::asio::co_spawn(
        io,
        [&]() -> Task<void> {
          auto daemon = co_await Daemon::start(io, config_);
          EXPECT_TRUE(daemon.ok()) << (daemon.ok() ? "" : daemon.error().message);
          if (!daemon) co_return;
          co_await body(**daemon);
          (void)co_await (*daemon)->shutdown(keep);
          daemon->reset();
          finished = true;
          io.stop();
        },
        [&](const std::exception_ptr& failure) {
          if (failure) std::rethrow_exception(failure);
          io.stop();
        });
    io.run_for(60s);
    EXPECT_TRUE(finished);
  }

  static Submission job(std::vector<std::string> command) {
    Submission submission;
    submission.request.command = std::move(command);
    return submission;
  }
  static Task<model::Report> ended(Daemon& daemon, const Caller& who, JobId id) {
    for (;;) {
      auto now = daemon.job(who, id);
      EXPECT_TRUE(now.ok());
      if (auto report = daemon.report(who, id)) co_return *report;
      (void)co_await daemon.changed(who, id, now->state, 20s);
    }
  }
  static Task<model::Job> in_state(Daemon& daemon, const Caller& who, JobId id, model::JobState state) {
    for (;;) {
      auto now = daemon.job(who, id);
      if (now->state == state || model::is_terminal(now->state)) co_return *now;
      (void)co_await daemon.changed(who, id, now->state, 20s);
    }
  }

  // Whether the file is there, at the latest after 20 s; the daemon goes on meanwhile.
  static Task<bool> appears(Daemon& daemon, const Caller& who, JobId id, std::filesystem::path file) {
    const BootTime deadline = BootClock::now() + 20s;
    while (!std::filesystem::exists(file) && BootClock::now() < deadline) {
      const auto now = daemon.job(who, id);
      (void)co_await daemon.changed(who, id, now->state, 5ms);
    }
    co_return std::filesystem::exists(file);
  }
  // The report of a job that its owner cancels.
  static Task<std::optional<model::Report>> cancelled(Daemon& daemon, const Caller& who, JobId id) {
    CancelRequest request;
    request.by = "owner";
    request.wait = 20s;
    auto answer = co_await daemon.cancel(who, id, request);
    EXPECT_TRUE(answer.ok() && answer->report);
    if (!answer) co_return std::nullopt;
    co_return std::move(answer->report);
  }

  static void kill_and_reap(pid_t child) {
    ASSERT_GT(child, 0);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }

  // Our child that carries the attempt's name.
  [[nodiscard]] pid_t keeper_of(JobId id) const {
    const auto pids = process::list_pids();
    for (const pid_t pid : *pids) {
      const auto words = process::read_proc_file(pid, "cmdline");
      if (words && words->find("ebb-keeper") != std::string::npos &&
          words->find(id.str()) != std::string::npos && process::read_proc_stat(pid)->ppid == ::getpid()) {
        return pid;
      }
    }
    return -1;
  }

  std::filesystem::path folder_;
  PortBlock ports_;
  Config config_;
  UniqueFd near_, far_;
};

}  // namespace ebb::daemon::testing
