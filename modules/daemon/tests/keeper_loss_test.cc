// Keepers that die or stop answering: the daemon does their work, and the report says so.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "daemon_fixture.h"
#include "ebb/model/json.h"
#include "ebb/process/proc.h"
#include "ebb/process/spawn.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;
using model::JobState;
using model::StopKind;

class KeeperLoss : public testing::DaemonTest {
 protected:
  // A job that ignores TERM, once it does; its keeper.
  struct Running {
    JobId id;
    pid_t keeper = -1;
  };
  Task<Running> stubborn(Daemon& daemon, const Caller& who) {
    return started(daemon, who,
                   "trap 'echo >$EBB_SCRATCH/termed' TERM; echo >$EBB_SCRATCH/ready; "
                   // Waited for, since a TERM between the look for signals and the fork of what is in the
                   // foreground is heard of only when that has ended.
                   "while :; do sleep 1000 & wait; done");
  }
  // One that says when it is ready; its keeper.
  Task<Running> started(Daemon& daemon, const Caller& who, const char* script) {
    Submission request = job({"/bin/sh", "-c", script});
    request.request.gpus = 1;
    Running running;
    running.id = (co_await daemon.submit(who, std::move(request)))->job.id;
    (void)co_await in_state(daemon, who, running.id, JobState::running);
    const bool ready = co_await wrote(daemon, who, running.id, "ready");
    EXPECT_TRUE(ready);
    running.keeper = keeper_of(running.id);
    EXPECT_GT(running.keeper, 0);
    co_return running;
  }
  static Task<void> cancel(Daemon& daemon, const Caller& who, JobId id, std::optional<Duration> grace) {
    CancelRequest request;
    request.by = "owner";
    request.detail = "SIGINT";
    request.grace = grace;
    (void)co_await daemon.cancel(who, id, request);
  }
  // Whether the job has made this file in its scratch, at the latest after 20 s.
  Task<bool> wrote(Daemon& daemon, const Caller& who, JobId id, const char* name) {
    return appears(daemon, who, id, config_.jobs.scratch / (id.str() + ".1") / name);
  }
  // Until its keeper has answered all that the daemon has asked so far: it serves its connections in their
  // order, and this one comes after the daemon's. A job that got TERM does not show that; its keeper sends
  // TERM first and answers then.
  void wait_for_answers(JobId id) const {
    auto link = process::KeeperLink::connect((config_.state.dir / "attempts" / (id.str() + ".1")).string());
    ASSERT_TRUE(link.ok()) << link.error().message;
    pollfd welcome{.fd = link->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&welcome, 1, 20'000), 1);
  }
  // The report of a job that ignores TERM, after this was done to it.
  using Harm = std::function<Task<void>(Daemon&, const Caller&, const Running&)>;
  model::Report after(const Harm& harm) {
    model::Report report;
    with_daemon([&](Daemon& daemon) -> Task<void> {
      const Caller who = caller(daemon);
      const Running running = co_await stubborn(daemon, who);
      if (running.keeper <= 0) co_return;
      Task<void> done = harm(daemon, who, running);
      co_await std::move(done);
      report = co_await ended(daemon, who, running.id);
      EXPECT_TRUE(report.complete) << model::json_text(report);
    });
    return report;
  }
};

TEST_F(KeeperLoss, AKilledKeeperIsReported) {
  const model::Report report = after([](Daemon&, const Caller&, const Running& running) -> Task<void> {
    ::kill(running.keeper, SIGKILL);
    co_return;
  });
  EXPECT_EQ(report.reason.kind, StopKind::keeper_lost) << model::json_text(report);
  EXPECT_FALSE(report.stop_requested_at);
}

TEST_F(KeeperLoss, AStoppedKeeperThatDoesNotAnswerAStopIsReplacedAndReported) {
  const model::Report report =
      after([](Daemon& daemon, const Caller& who, const Running& running) -> Task<void> {
        ::kill(running.keeper, SIGSTOP);
        co_await cancel(daemon, who, running.id, std::nullopt);
      });
  EXPECT_EQ(report.reason.kind, StopKind::keeper_lost) << model::json_text(report);
  EXPECT_EQ(report.reason.detail,
            "its keeper did not answer within 5 s, when it was asked to stop (cancelled)");
  EXPECT_TRUE(report.stop_requested_at);
}

// The stop came first and has reached the tree.
TEST_F(KeeperLoss, ACancelWhoseKeeperDiesWhileItIsStoppingStaysACancel) {
  const model::Report report =
      after([this](Daemon& daemon, const Caller& who, const Running& running) -> Task<void> {
        co_await cancel(daemon, who, running.id, 60s);
        const bool asked = co_await wrote(daemon, who, running.id, "termed");
        EXPECT_TRUE(asked);
        ::kill(running.keeper, SIGKILL);
      });
  EXPECT_EQ(report.reason.kind, StopKind::cancelled) << model::json_text(report);
}

// It had answered, so that nobody waited for an answer any more: nothing would ever have ended the job.
TEST_F(KeeperLoss, AKeeperThatIsStoppedWithinTheGracePeriodIsReplaced) {
  config_.jobs.kill_timeout = 1s;
  const model::Report report =
      after([this](Daemon& daemon, const Caller& who, const Running& running) -> Task<void> {
        co_await cancel(daemon, who, running.id, 2s);
        const bool asked = co_await wrote(daemon, who, running.id, "termed");
        EXPECT_TRUE(asked);
        wait_for_answers(running.id);
        ::kill(running.keeper, SIGSTOP);
      });
  EXPECT_EQ(report.reason.kind, StopKind::cancelled) << model::json_text(report);
}

// A job that ends when it is told to, and its keeper, which is stopped between its last word and the daemon's
// answer to that.
class LeavingKeeper : public KeeperLoss {
 protected:
  Task<Running> stopped_at_its_end(Daemon& daemon, const Caller& who) {
    const Running running = co_await started(
        daemon, who, "echo >$EBB_SCRATCH/ready; while [ ! -e $EBB_SCRATCH/go ]; do sleep 0.01; done");
    if (running.keeper > 0) stop_at_end(running);
    co_return running;
  }

 private:
  // Nothing of the daemon runs meanwhile: this is its thread.
  void stop_at_end(const Running& running) {
    const std::string name = running.id.str() + ".1";
    auto link = process::KeeperLink::connect((config_.state.dir / "attempts" / name).string());
    ASSERT_TRUE(link.ok()) << link.error().message;
    std::ofstream(config_.jobs.scratch / name / "go").put('\n');
    for (;;) {
      pollfd news{.fd = link->fd(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&news, 1, 20'000), 1);
      const auto received = link->receive();
      ASSERT_TRUE(received.ok() && !received->closed);
      for (const process::KeeperEvent& event : received->events) {
        if (!std::holds_alternative<process::Ended>(event)) continue;
        ASSERT_EQ(::kill(running.keeper, SIGSTOP), 0);
        return;
      }
    }
  }
};

// Dead, reaped by the daemon or not yet.
bool gone(pid_t keeper) {
  const auto stat = process::read_proc_stat(keeper);
  return !stat || stat->gone();
}

TEST_F(LeavingKeeper, ThatCannotLeaveIsKilled) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const Running running = co_await stopped_at_its_end(daemon, who);
    const model::Report report = co_await ended(daemon, who, running.id);
    EXPECT_EQ(report.reason.kind, StopKind::completed) << model::json_text(report);
    EXPECT_TRUE(report.complete);
    EXPECT_FALSE(gone(running.keeper)) << "it was not stopped in time";
    const auto limit = BootClock::now() + 30s;
    while (!gone(running.keeper) && BootClock::now() < limit)
      (void)co_await daemon.changed(who, running.id, JobState::completed, 100ms);
    EXPECT_TRUE(gone(running.keeper)) << "left for ever";
  });
}

// Else the GPU's lock is a dead job's affair, when its new keeper and the daemon die.
TEST_F(LeavingKeeper, DoesNotShareALockWithTheNextJob) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const Running running = co_await stopped_at_its_end(daemon, who);
    (void)co_await ended(daemon, who, running.id);
    Submission next = job({"/bin/sleep", "1000"});
    next.request.gpus = 1;
    const JobId id = (co_await daemon.submit(who, std::move(next)))->job.id;
    (void)co_await in_state(daemon, who, id, JobState::running);
    EXPECT_TRUE(gone(running.keeper));
    (void)co_await cancelled(daemon, who, id);
  });
}

}  // namespace
}  // namespace ebb::daemon
