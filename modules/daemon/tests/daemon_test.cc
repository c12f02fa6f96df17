#include "ebb/daemon/daemon.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>

#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "ebb/model/json.h"
#include "ebb/process/proc.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// A daemon in a folder of its own, with declared GPUs, whose only caller is this process.
class DaemonTest : public testing::Test {
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
    config_.ports.range = "28700-28719";
    config_.jobs.scratch = folder_ / "scratch";
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    near_ = UniqueFd(pair[0]);
    far_ = UniqueFd(pair[1]);
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
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
    asio::io_context io;
    bool finished = false;
    asio::co_spawn(
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
        [&](std::exception_ptr failure) {
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
  Config config_;
  UniqueFd near_, far_;
};

TEST_F(DaemonTest, RunsAJobToItsReport) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission request = job({"/bin/sh", "-c", "echo on {gpus} at {port} in $EBB_SCRATCH; exit 3"});
    request.request.gpus = 2;
    request.request.ports = 1;
    auto submitted = co_await daemon.submit(who, std::move(request));
    EXPECT_TRUE(submitted.ok()) << submitted.error().message;
    if (!submitted) co_return;
    const model::Report report = co_await ended(daemon, who, submitted->job.id);
    EXPECT_EQ(report.reason.kind, model::StopKind::failed) << model::json_text(report);
    EXPECT_EQ(report.exit.code, 3) << model::json_text(report);
    EXPECT_TRUE(report.complete) << model::json_text(report);
    const model::Job shown = *daemon.job(who, submitted->job.id);
    EXPECT_EQ(shown.state, model::JobState::failed);
    EXPECT_EQ(shown.gpu_ids.size(), 2u);
    const std::filesystem::path scratch = config_.jobs.scratch / (submitted->job.id.str() + ".1");
    EXPECT_FALSE(std::filesystem::exists(scratch));
  });
}

TEST_F(DaemonTest, ACancelledJobsDevicesGoToTheNextByThemselves) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission first = job({"/bin/sleep", "1000"});
    first.request.gpus = 4;
    Submission second = job({"/bin/true"});
    second.request.gpus = 4;
    auto holder = co_await daemon.submit(who, std::move(first));
    auto waiter = co_await daemon.submit(who, std::move(second));
    EXPECT_TRUE(holder.ok() && waiter.ok());
    (void)co_await in_state(daemon, who, holder->job.id, model::JobState::running);
    EXPECT_EQ(daemon.job(who, waiter->job.id)->state, model::JobState::queued);
    CancelRequest request;  // built first: g++ 12 destroys an aggregate in a co_await expression twice
    request.by = "owner";
    request.wait = 20s;
    auto cancelled = co_await daemon.cancel(who, holder->job.id, request);
    EXPECT_TRUE(cancelled.ok() && cancelled->report);
    EXPECT_EQ(cancelled->report->reason.kind, model::StopKind::cancelled);
    const model::Report next = co_await ended(daemon, who, waiter->job.id);
    EXPECT_EQ(next.reason.kind, model::StopKind::completed) << model::json_text(next);
  });
}

TEST_F(DaemonTest, ShutdownEndsRunningJobsAndKeepsQueuedOnesForTheNextDaemon) {
  JobId running, queued;
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission first = job({"/bin/sleep", "1000"});
    first.request.gpus = 4;
    Submission second = job({"/bin/true"});
    second.request.gpus = 4;
    running = (co_await daemon.submit(who, std::move(first)))->job.id;
    queued = (co_await daemon.submit(who, std::move(second)))->job.id;
    (void)co_await in_state(daemon, who, running, model::JobState::running);
  });
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    EXPECT_EQ(daemon.report(who, running)->reason.kind, model::StopKind::daemon_stopped);
    EXPECT_EQ((co_await ended(daemon, who, queued)).reason.kind, model::StopKind::completed);
  });
}

TEST_F(DaemonTest, ANewDaemonAdoptsWhatAnEarlierOneLeftRunning) {
  JobId id;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        Submission request =
            job({"/bin/sh", "-c", "while [ ! -e " + (folder_ / "go").string() + " ]; do sleep 0.05; done"});
        request.request.gpus = 1;
        id = (co_await daemon.submit(who, std::move(request)))->job.id;
        (void)co_await in_state(daemon, who, id, model::JobState::running);
      },
      true);
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    EXPECT_EQ((co_await in_state(daemon, who, id, model::JobState::running)).state, model::JobState::running);
    std::ofstream(folder_ / "go") << "1";
    const model::Report report = co_await ended(daemon, who, id);
    EXPECT_EQ(report.reason.kind, model::StopKind::completed) << model::json_text(report);
    EXPECT_TRUE(report.complete) << model::json_text(report);
  });
}

TEST_F(DaemonTest, AKilledOrStoppedKeeperIsReplacedByTheDaemonAndReported) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    for (const int signal : {SIGKILL, SIGSTOP}) {
      Submission request = job({"/bin/sh", "-c", "sleep 1000 & sleep 1000"});
      request.request.gpus = 1;
      const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
      (void)co_await in_state(daemon, who, id, model::JobState::running);
      const pid_t keeper = keeper_of(id);
      EXPECT_GT(keeper, 0);
      if (keeper <= 0) co_return;
      ::kill(keeper, signal);
      if (signal == SIGSTOP) {
        CancelRequest cancel;
        cancel.by = "owner";
        (void)co_await daemon.cancel(who, id, cancel);
      }
      const model::Report report = co_await ended(daemon, who, id);
      EXPECT_TRUE(report.complete) << model::json_text(report);
      const auto reason = signal == SIGKILL ? model::StopKind::keeper_lost : model::StopKind::cancelled;
      EXPECT_EQ(report.reason.kind, reason) << model::json_text(report);
    }
  });
}

TEST_F(DaemonTest, LeavesNoFolderAndNoGroupBehind) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    for (int i = 0; i < 3; ++i) {
      Submission request = job({"/bin/true"});
      const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
      (void)co_await ended(daemon, who, id);
    }
  });
  EXPECT_TRUE(std::filesystem::is_empty(config_.state.dir / "attempts"));
  EXPECT_TRUE(std::filesystem::is_empty(config_.jobs.scratch));
}

TEST_F(DaemonTest, AServerIsRunningOnlyWhenItAnswersItself) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission good = job({"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}"});
    good.request.ports = 1;
    good.request.ready = model::Ready{.path = "/", .timeout_s = 20};
    auto submitted = co_await daemon.submit(who, std::move(good));
    const model::Job up = co_await in_state(daemon, who, submitted->job.id, model::JobState::running);
    EXPECT_EQ(up.state, model::JobState::running) << model::json_text(up);
    Submission silent = job({"/bin/sleep", "1000"});
    silent.request.ports = 1;
    silent.request.ready = model::Ready{.path = "/", .timeout_s = 0.3};
    auto never = co_await daemon.submit(who, std::move(silent));
    const model::Report report = co_await ended(daemon, who, never->job.id);
    EXPECT_EQ(report.reason.kind, model::StopKind::start_failed) << model::json_text(report);
  });
}

// The original took any process that answered on the port for its job's server.
TEST_F(DaemonTest, AForeignListenerOnTheLeasedPortIsNamedAndNeverTakenForTheServer) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission request = job({"/bin/sleep", "1000"});
    request.request.ports = 1;
    request.request.ready = model::Ready{.path = "/", .timeout_s = 20};
    const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
    const model::Job starting = co_await in_state(daemon, who, id, model::JobState::starting);
    EXPECT_EQ(starting.ports.size(), 1u);
    if (starting.ports.empty()) co_return;
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(starting.ports.front()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener.get(), 8), 0);
    const model::Report report = co_await ended(daemon, who, id);
    EXPECT_EQ(report.reason.kind, model::StopKind::start_failed) << model::json_text(report);
    EXPECT_NE(report.reason.detail.value_or("").find("pid " + std::to_string(::getpid())), std::string::npos)
        << model::json_text(report);
  });
}

// The original noticed a server's death only when somebody asked about the job.
TEST_F(DaemonTest, TheDeathOfAServerEndsItsJobWithoutBeingAskedFor) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission request = job({"/bin/sleep", "1000"});
    request.request.gpus = 4;
    const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
    const model::Job running = co_await in_state(daemon, who, id, model::JobState::running);
    EXPECT_GT(running.pid.value_or(0), 0);
    if (!running.pid) co_return;
    Submission next = job({"/bin/true"});
    next.request.gpus = 4;
    const JobId waiter = (co_await daemon.submit(who, std::move(next)))->job.id;
    ::kill(*running.pid, SIGKILL);
    EXPECT_EQ((co_await ended(daemon, who, waiter)).reason.kind, model::StopKind::completed);
    EXPECT_EQ((co_await ended(daemon, who, id)).exit.signal, SIGKILL);
  });
}

}  // namespace
}  // namespace ebb::daemon
