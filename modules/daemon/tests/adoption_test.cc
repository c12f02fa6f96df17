// What the next daemon makes of the attempts that an earlier one left.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <future>
#include <thread>

#include "daemon_fixture.h"
#include "ebb/base/programs.h"
#include "ebb/model/json.h"
#include "ebb/process/attempts_folder.h"
#include "ebb/process/end_record.h"
#include "ebb/process/keeper_lock.h"
#include "ebb/process/spawn.h"
#include "ebb/store/store.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;
using model::JobState;
using model::StopKind;

std::optional<std::int64_t> swept_ipc(const model::Report& report) {
  for (const model::ReleaseRecord& release : report.releases) {
    if (release.kind == model::ReleaseKind::ipc) return release.count;
  }
  return std::nullopt;
}

class Adoption : public testing::DaemonTest {
 protected:
  [[nodiscard]] std::filesystem::path attempt_dir(JobId id) const {
    return config_.state.dir / "attempts" / (id.str() + ".1");
  }
  // A job that the journal has as starting, since it is to answer on its port but never does.
  static Submission unready(std::vector<std::string> command) {
    Submission request = job(std::move(command));
    request.request.gpus = 1;
    request.request.ports = 1;
    request.request.ready = model::Ready{.path = "/", .timeout_s = 60};
    return request;
  }
  // Leaves the job with its keeper, once `state` is on disk; then kills the keeper, and takes away its
  // socket: as if the daemon had been killed before the keeper made it.
  JobId left_before_its_socket(Submission request, JobState state) {
    JobId id;
    pid_t keeper = -1;
    with_daemon(
        [&](Daemon& daemon) -> Task<void> {
          const Caller who = caller(daemon);
          id = (co_await daemon.submit(who, std::move(request)))->job.id;
          (void)co_await in_state(daemon, who, id, state);
          // The keeper is started only when that is on disk.
          const bool began = co_await appears(daemon, who, id, attempt_dir(id) / "keeper.sock");
          EXPECT_TRUE(began);
          keeper = keeper_of(id);
        },
        true);
    kill_and_reap(keeper);
    std::filesystem::remove(attempt_dir(id) / "keeper.sock");
    // An init that the keeper had just cloned has the lock, too, until it has died with it.
    const BootTime deadline = BootClock::now() + 20s;
    while (process::keeper_lives(attempt_dir(id).string()) && BootClock::now() < deadline) {
      std::this_thread::yield();
    }
    EXPECT_FALSE(process::keeper_lives(attempt_dir(id).string()));
    return id;
  }
  // Ends the job and writes its report, as a daemon does that is killed before it can acknowledge that to the
  // keeper: which waits for it with its locks, folder and cgroup.
  struct Reported {
    JobId id;
    pid_t keeper = -1;
    JobId next;  // waits behind it, where one was given; or has what it had, and nothing was started yet
  };
  Reported left_reported(Submission request, std::optional<Submission> next = {}, bool next_begun = false) {
    Reported left;
    with_daemon(
        [&](Daemon& daemon) -> Task<void> {
          const Caller who = caller(daemon);
          left.id = (co_await daemon.submit(who, std::move(request)))->job.id;
          (void)co_await in_state(daemon, who, left.id, JobState::running);
          left.keeper = keeper_of(left.id);
          if (next) left.next = (co_await daemon.submit(who, std::move(*next)))->job.id;
        },
        true);
    EXPECT_GT(left.keeper, 0);
    if (left.keeper <= 0) return left;
    ::kill(left.keeper, SIGTERM);  // it ends the tree, and stays until it is acknowledged
    const BootTime deadline = BootClock::now() + 20s;
    while (!process::read_end_record(attempt_dir(left.id).string()) && BootClock::now() < deadline) {
      std::this_thread::yield();
    }
    auto store = store::Store::open(config_.state.dir, "a test");
    EXPECT_TRUE(store.ok());
    if (!store) return left;
    const AttemptId attempt{left.id, 1};
    const model::StopReason reason{.kind = StopKind::keeper_lost, .by = {}, .detail = {}};
    model::Report report;
    report.job = left.id;
    report.attempt = 1;
    report.reason = reason;
    report.complete = true;
    store::Batch batch;
    batch.push_back(store::write::SetEnded{
        .attempt = attempt, .reason = reason, .exit = {}, .at = system_clock().wall()});
    batch.push_back(store::write::AddReport{report});
    if (next_begun) {
      store::AttemptRow begun;
      begun.id = {left.next, 1};
      begun.gpus = {0, 1, 2, 3};
      begun.boot_id = boot_id();
      batch.push_back(store::write::AddAttempt{std::move(begun)});
    }
    std::promise<void> written;
    store->commit(std::move(batch), [&](const store::Store::Outcome& outcome) {
      EXPECT_TRUE(outcome.result.ok());
      written.set_value();
    });
    written.get_future().wait();
    return left;
  }
  // Ends daemon and keeper when the job has `said` that it made shared memory; the next daemon removes that.
  void left_without_its_keeper(Submission request, JobState state, const std::filesystem::path& said) {
    JobId id;
    pid_t keeper = -1;
    with_daemon(
        [&](Daemon& daemon) -> Task<void> {
          const Caller who = caller(daemon);
          id = (co_await daemon.submit(who, std::move(request)))->job.id;
          (void)co_await in_state(daemon, who, id, state);
          const bool made = co_await appears(daemon, who, id, said);
          EXPECT_TRUE(made);
          keeper = keeper_of(id);
        },
        true);
    ASSERT_NO_FATAL_FAILURE(kill_and_reap(keeper));
    with_daemon([&](Daemon& daemon) -> Task<void> {
      const model::Report report = co_await ended(daemon, caller(daemon), id);
      EXPECT_EQ(swept_ipc(report), 1) << model::json_text(report);
    });
  }
};

TEST_F(Adoption, ANewDaemonAdoptsWhatAnEarlierOneLeftRunning) {
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

TEST_F(Adoption, ADisownedJobOutlivesItsDaemonLikeADetachedOne) {
  config_.jobs.daemon_gone = Duration{};  // an attached job's keeper ends it at once
  JobId id;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        Submission request = job({"/bin/sleep", "1000"});
        request.request.owner = model::OwnerRequest{.lease_s = 60};
        id = (co_await daemon.submit(who, std::move(request)))->job.id;
        (void)co_await in_state(daemon, who, id, JobState::running);
        EXPECT_TRUE(daemon.disown(who, id).ok());
      },
      true);
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const auto report = co_await cancelled(daemon, who, id);
    if (!report) co_return;
    EXPECT_EQ(report->reason.kind, StopKind::cancelled) << model::json_text(*report);
    EXPECT_EQ(report->exit.signal, SIGTERM) << "it lived until now";
  });
}

// The folders in memory were removed under a living keeper: its job is ended, and is not run a second time as
// if it had never begun.
TEST_F(Adoption, AnAttemptWhoseFolderIsGoneIsEndedAndNotStartedAgain) {
  if (process::memory_places().empty()) GTEST_SKIP() << "the attempts' folders are in the state directory";
  const std::string runs = (folder_ / "runs").string();
  JobId id;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        Submission request = unready({"/bin/sh", "-c", "echo run >> " + runs + "; sleep 1000"});
        id = (co_await daemon.submit(who, std::move(request)))->job.id;
        (void)co_await in_state(daemon, who, id, JobState::starting);
        const bool begun = co_await appears(daemon, who, id, runs);
        EXPECT_TRUE(begun);
      },
      true);
  const pid_t keeper = keeper_of(id);
  EXPECT_GT(keeper, 0);
  std::filesystem::remove_all(std::filesystem::canonical(config_.state.dir / "attempts"));
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const model::Report report = co_await ended(daemon, caller(daemon), id);
    EXPECT_EQ(report.reason.kind, StopKind::keeper_lost) << model::json_text(report);
    EXPECT_TRUE(report.complete) << model::json_text(report);
    EXPECT_EQ(report.attempt, 1);
  });
  if (keeper > 0) {
    EXPECT_EQ(::waitpid(keeper, nullptr, 0), keeper) << "it was ended with its tree";
  }
  EXPECT_EQ(std::filesystem::file_size(runs), 4U);
}

// Nothing of it was executed, and no keeper is left that could.
TEST_F(Adoption, AnAttemptWhoseKeeperNeverCameUpIsStartedAgain) {
  const std::string go = (folder_ / "go").string();
  const JobId id =
      left_before_its_socket(unready({"/bin/sh", "-c",
                                      "[ ! -e " + go +
                                          " ] || exec python3 -m http.server --bind 127.0.0.1 {port}; "
                                          "sleep 1000"}),
                             JobState::starting);
  std::ofstream(go) << "1";
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const model::Job again = co_await in_state(daemon, who, id, JobState::running);
    EXPECT_EQ(again.state, JobState::running) << model::json_text(again);
    EXPECT_EQ(again.attempt, 1);
  });
}

// The daemon may have been killed just after it had started the keeper, which has not made its socket yet.
TEST_F(Adoption, AKeeperThatIsStillComingUpIsWaitedForAndAdopted) {
  const JobId id = left_before_its_socket(unready({"/bin/sleep", "1000"}), JobState::starting);
  auto coming = process::lock_attempt_dir(attempt_dir(id).string());
  EXPECT_TRUE(coming.ok());
  if (!coming) return;
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const auto seen = co_await daemon.changed(who, id, JobState::starting, 200ms);
    EXPECT_EQ(seen->state, JobState::starting) << "neither lost nor queued again";
    EXPECT_TRUE(std::filesystem::exists(attempt_dir(id)));
    coming->reset();  // the real one takes the lock and makes its socket
    process::LaunchSpec spec;
    spec.label = id.str() + ".1";
    spec.argv = {"/bin/sh", "-c", "exit 7"};
    spec.workdir = "/";
    spec.attempt_dir = attempt_dir(id).string();
    spec.tiers.subreaper = true;
    spec.kill_timeout = 5s;
    const auto program = find_program("ebb-keeper");
    EXPECT_TRUE(program.ok());
    auto keeper = process::start_keeper(spec, {.program = program->string()});
    EXPECT_TRUE(keeper.ok()) << (keeper.ok() ? "" : keeper.error().message);
    if (!keeper) co_return;
    const model::Report report = co_await ended(daemon, who, id);
    EXPECT_EQ(report.exit.code, 7) << model::json_text(report);
    EXPECT_TRUE(report.complete) << model::json_text(report);
    ::waitpid(keeper->pid, nullptr, 0);
  });
}

TEST_F(Adoption, AKeeperThatNeverComesUpIsKilledAndItsAttemptLost) {
  const JobId id = left_before_its_socket(unready({"/bin/sleep", "1000"}), JobState::starting);
  // Taken before the fork, as a keeper's starter does: to ask for the lock is to hold it for a moment, so
  // that a child which took it itself could be refused by a parent that waits for that.
  auto lock = process::lock_attempt_dir(attempt_dir(id).string());
  ASSERT_TRUE(lock.ok()) << lock.error().message;
  // A process that has the lock and does nothing, as a keeper that was stopped at once.
  const pid_t stopped = ::fork();
  ASSERT_GE(stopped, 0);
  if (stopped == 0) {
    for (;;) ::pause();
  }
  lock->reset();
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const model::Report report = co_await ended(daemon, who, id);
    EXPECT_EQ(report.reason.kind, StopKind::keeper_lost) << model::json_text(report);
    EXPECT_TRUE(report.complete) << model::json_text(report);
  });
  ::kill(stopped, SIGTERM);  // where it was killed already, this changes nothing
  int status = 0;
  EXPECT_EQ(::waitpid(stopped, &status, 0), stopped);
  EXPECT_EQ(WTERMSIG(status), SIGKILL) << "the daemon left it alive";
}

TEST_F(Adoption, TheEndWaitsForAnEndedAttemptThatAnEarlierDaemonLeft) {
  const Reported left = left_reported(job({"/bin/sleep", "1000"}));
  with_daemon([](Daemon&) -> Task<void> { co_return; });
  EXPECT_FALSE(std::filesystem::exists(attempt_dir(left.id)));
  int status = 0;
  EXPECT_EQ(::waitpid(left.keeper, &status, WNOHANG), left.keeper) << "its keeper still waits";
}

// A refusal would cost the next job the time until the GPUs are looked at again. It may have been given them
// in the transaction that the report was written in.
TEST_F(Adoption, TheNextJobIsNotRefusedWhatAnEndedAttemptsKeeperStillHolds) {
  std::int64_t before = 0;
  for (const bool begun : {false, true}) {
    SCOPED_TRACE(begun ? "starting" : "queued");
    Submission all = job({"/bin/sleep", "1000"});
    all.request.gpus = 4;
    Submission next = job({"/bin/true"});
    next.request.gpus = 4;
    const Reported left = left_reported(std::move(all), std::move(next), begun);
    with_daemon([&](Daemon& daemon) -> Task<void> {
      const Caller who = caller(daemon);
      const model::Report report = co_await ended(daemon, who, left.next);
      EXPECT_EQ(report.reason.kind, StopKind::completed) << model::json_text(report);
      const auto seen = co_await daemon.events(who, before, 0s);
      EXPECT_TRUE(seen.ok());
      int changed = 0;
      for (const model::Event& event : seen->events) {
        if (event.type != "device.changed") continue;
        ++changed;
        EXPECT_EQ(event.detail->find("outside"), std::string::npos) << *event.detail;
      }
      EXPECT_EQ(changed, 4) << "each came free once";
      before = daemon.last_event();
    });
    EXPECT_EQ(::waitpid(left.keeper, nullptr, 0), left.keeper);
  }
}

// Makes a segment of the machine's shared memory, says so `after` that many seconds, and stays.
std::vector<std::string> makes_shared_memory(const std::filesystem::path& said, const std::string& after) {
  return {"python3", "-c",
          "import ctypes, time\nctypes.CDLL(None).shmget(0, 4096, 0o1600)\ntime.sleep(" + after +
              ")\nopen('" + said.string() + "', 'w')\ntime.sleep(1000)"};
}

// In both states: only of one that is running the journal has the leader's number.
TEST_F(Adoption, SharedMemoryGoesWithAnAttemptWhoseKeeperDiedBesideTheDaemon) {
  for (const JobState state : {JobState::starting, JobState::running}) {
    SCOPED_TRACE(model::name_of(state));
    const std::filesystem::path said = folder_ / std::string("made-" + std::string(model::name_of(state)));
    std::vector<std::string> command = makes_shared_memory(said, "0");
    Submission request = state == JobState::starting ? unready(command) : job(command);
    request.request.share_ipc = true;
    left_without_its_keeper(std::move(request), state, said);
  }
}

// That the job had begun was not on disk yet when the daemon died: it began long before the next one learns
// of it.
TEST_F(Adoption, SharedMemoryOfBeforeTheAdoptionIsTheAttemptsToo) {
  JobId id;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        Submission request = unready(makes_shared_memory(folder_ / "made", "2.1"));
        request.request.share_ipc = true;
        id = (co_await daemon.submit(who, std::move(request)))->job.id;
        (void)co_await in_state(daemon, who, id, JobState::starting);
        const bool made = co_await appears(daemon, who, id, folder_ / "made");
        EXPECT_TRUE(made);
      },
      true);
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const auto report = co_await cancelled(daemon, who, id);
    if (!report) co_return;
    EXPECT_EQ(swept_ipc(*report), 1) << model::json_text(*report);
  });
}

// Made by a process that nobody has told the daemon of.
TEST_F(Adoption, SharedMemoryGoesWithATreeThatTheDaemonKillsItself) {
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    std::vector<std::string> command = makes_shared_memory(folder_ / "made", "0");
    command[2] = "import os\nif os.fork() > 0: os.wait()\n" + command[2];
    Submission request = job(std::move(command));
    request.request.share_ipc = true;
    const JobId id = (co_await daemon.submit(who, std::move(request)))->job.id;
    (void)co_await in_state(daemon, who, id, JobState::running);
    const bool made = co_await appears(daemon, who, id, folder_ / "made");
    EXPECT_TRUE(made);
    ::kill(keeper_of(id), SIGSTOP);
    const auto report = co_await cancelled(daemon, who, id);
    if (!report) co_return;
    EXPECT_EQ(report->reason.kind, StopKind::keeper_lost) << model::json_text(*report);
    EXPECT_EQ(swept_ipc(*report), 1) << model::json_text(*report);
  });
}

// What was seen to run is never forgotten, whatever has become of its folder.
TEST_F(Adoption, ARunningAttemptOfWhichNothingIsLeftIsLost) {
  Submission request = job({"/bin/sleep", "1000"});
  const JobId id = left_before_its_socket(std::move(request), JobState::running);
  std::filesystem::remove_all(attempt_dir(id));
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const model::Report report = co_await ended(daemon, who, id);
    EXPECT_EQ(report.reason.kind, StopKind::keeper_lost) << model::json_text(report);
  });
}

TEST_F(Adoption, ARunningJobShowsItsNumberBeforeItsKeeperHasToldIt) {
  JobId id;
  pid_t keeper = -1;
  std::optional<int> leader;
  with_daemon(
      [&](Daemon& daemon) -> Task<void> {
        const Caller who = caller(daemon);
        Submission request = job({"/bin/sleep", "1000"});
        id = (co_await daemon.submit(who, std::move(request)))->job.id;
        leader = (co_await in_state(daemon, who, id, JobState::running)).pid;
        keeper = keeper_of(id);
      },
      true);
  ASSERT_TRUE(leader);
  ASSERT_GT(keeper, 0);
  ::kill(keeper, SIGSTOP);
  with_daemon([&](Daemon& daemon) -> Task<void> {
    const Caller who = caller(daemon);
    const auto now = daemon.job(who, id);
    EXPECT_TRUE(now.ok());
    EXPECT_EQ(now->state, JobState::running);
    EXPECT_EQ(now->pid, leader);
    ::kill(keeper, SIGCONT);
    (void)co_await cancelled(daemon, who, id);
  });
  ::waitpid(keeper, nullptr, 0);
}

}  // namespace
}  // namespace ebb::daemon
