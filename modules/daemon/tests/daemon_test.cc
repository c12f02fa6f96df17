#include "ebb/daemon/daemon.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "daemon_fixture.h"
#include "ebb/model/json.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

using testing::DaemonTest;

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

// Else the daemon's death could take back what a client was told.
TEST_F(DaemonTest, ACancelIsOnDiskWhenItIsAnswered) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    Submission request = job({"/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"});
    request.request.grace_s = 5;
    const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
    (void)co_await in_state(daemon, who, id, model::JobState::running);
    CancelRequest cancel;
    cancel.by = "owner";
    auto cancelled = co_await daemon.cancel(who, id, cancel);
    EXPECT_TRUE(cancelled.ok());
    JobFilter filter;  // asks the database
    filter.states = {model::JobState::releasing};
    const auto jobs = daemon.jobs(who, filter);
    EXPECT_TRUE(jobs.ok() && jobs->items.size() == 1);
    cancel.grace = Duration(0);
    cancel.wait = 20s;
    EXPECT_TRUE((co_await daemon.cancel(who, id, cancel))->report);
  });
}

// A keeper that was told that the report is on disk holds its attempt's locks until it has exited.
TEST_F(DaemonTest, WhoComesWhileAKeeperIsLeavingGetsItsDevicesAtOnce) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    for (int round = 0; round < 20; ++round) {
      Submission request = job({"/bin/true"});
      request.request.gpus = 4;
      request.request.ports = 1;
      auto submitted = co_await daemon.submit(who, std::move(request));
      EXPECT_TRUE(submitted.ok()) << submitted.error().message;
      if (!submitted) co_return;
      EXPECT_NE(submitted->job.state, model::JobState::queued) << submitted->job.why.value_or("");
      (void)co_await ended(daemon, who, submitted->job.id);
    }
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

TEST_F(DaemonTest, LeavesNoFolderAndNoGroupBehind) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    for (int i = 0; i < 3; ++i) {
      Submission request = job({"/bin/true"});
      const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
      (void)co_await ended(daemon, who, id);
    }
  });
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(config_.state.dir / "attempts")));
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

// What a user's only process left is known to be its own, of every kind; a user's own daemon is such a
// process itself, so there the doubt remains.
TEST_F(DaemonTest, SharedSemaphoresOfAUserWithNoOtherProcessAreSwept) {
  const bool root = ::geteuid() == 0;
  std::filesystem::permissions(folder_, std::filesystem::perms::others_exec,
                               std::filesystem::perm_options::add);
  int id = -1;
  with_daemon([&](Daemon& daemon) -> Task<void> {
    Caller who = caller(daemon);
    if (root) {
      auto stranger = process::peer_credentials(near_.get());
      stranger->uid = 3'999'999'991u;
      stranger->gid = 3'999'999'991u;
      stranger->groups.clear();
      who = *daemon.caller_of_peer(std::make_shared<const process::PeerCredentials>(std::move(*stranger)));
    }
    Submission request = job({"/bin/sh", "-c", "ipcmk -S 1 >made"});
    request.request.share_ipc = true;
    request.request.workdir = (folder_ / "work").string();
    std::filesystem::create_directory(folder_ / "work");
    std::filesystem::permissions(folder_ / "work", std::filesystem::perms::all);
    const JobId made = (co_await daemon.submit(who, std::move(request)))->job.id;
    const model::Report report = co_await ended(daemon, who, made);
    EXPECT_EQ(report.reason.kind, model::StopKind::completed) << model::json_text(report);
    std::ifstream(folder_ / "work" / "made").ignore(100, ':') >> id;
    EXPECT_GE(id, 0) << model::json_text(report);
    bool seen = false;
    for (const model::ReleaseRecord& release : report.releases) {
      if (release.kind != model::ReleaseKind::ipc) continue;
      seen = true;
      EXPECT_EQ(release.count, root ? 1 : 0) << model::json_text(report);
    }
    EXPECT_TRUE(seen);
  });
  const bool left = ::semctl(id, 0, GETVAL) != -1;
  EXPECT_EQ(left, !root);
  if (left) ::semctl(id, 0, IPC_RMID);
}

}  // namespace
}  // namespace ebb::daemon
