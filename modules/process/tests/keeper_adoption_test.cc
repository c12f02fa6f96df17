// What keepers do when their daemon dies, and what the next daemon finds.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempt.h"
#include "ebb/process/keeper_lock.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

using testing::Attempt;
using testing::Idle;
using testing::processes_with;
using testing::Signpost;
using testing::Site;
using testing::unique_number;
using namespace std::chrono_literals;

bool locked(const std::string& path) {
  const UniqueFd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  return ::flock(other.get(), LOCK_EX | LOCK_NB) != 0;
}

// Waits until the keeper of `attempt` wrote its end record, by adopting it.
EndRecord end_after_adoption(Attempt& attempt) {
  attempt.adopt();
  EXPECT_TRUE(attempt.wait<Welcome>().has_value());
  return attempt.end();
}

// Waits for the end record without connecting, which would stop the clock.
bool record_appears(const Attempt& attempt) {
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC));
  if (::inotify_add_watch(watch.get(), attempt.spec.attempt_dir.c_str(), IN_MOVED_TO) < 0) return false;
  if (read_end_record(attempt.spec.attempt_dir)) return true;
  pollfd entry{.fd = watch.get(), .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 20'000) > 0 && read_end_record(attempt.spec.attempt_dir).ok();
}

TEST(KeeperAdoption, ADetachedJobGoesOnAndIsAdopted) {
  Site site;
  Signpost post(site.dir / "post");
  Attempt attempt(
      site, {"sh", "-c", "trap 'exit 4' TERM; echo ready >" + post.path() + "; while :; do sleep 1; done"});
  attempt.start();
  ASSERT_EQ(post.line(), "ready");
  const auto started = attempt.wait<Started>();
  ASSERT_TRUE(started.has_value());
  attempt.hang_up();
  attempt.adopt();
  const auto welcome = attempt.wait<Welcome>();
  ASSERT_TRUE(welcome.has_value());
  EXPECT_EQ(welcome->version, kKeeperProtocolVersion);
  EXPECT_EQ(welcome->label, "7f3a91c2.1");
  EXPECT_EQ(welcome->phase, KeeperPhase::running);
  EXPECT_EQ(welcome->keeper_pid, attempt.keeper_pid());
  EXPECT_EQ(welcome->leader_pid, started->leader_pid);
  EXPECT_EQ(welcome->init_pid, started->init_pid);
  EXPECT_EQ(welcome->started, started->at);
  EXPECT_EQ(welcome->cgroup, attempt.spec.cgroup);
  const auto stat = read_proc_stat(welcome->leader_pid);
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->comm, "sh");
  attempt.send(Stop{.reason = "adopted", .grace = 10s});
  const EndRecord record = attempt.end();
  EXPECT_EQ(*record.wait_status, 4 << 8);
  EXPECT_EQ(record.stop_reason, "adopted");
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperAdoption, TheNextDaemonSharesTheLocks) {
  Site site;
  const std::string path = (site.dir / "gpu-0").string();
  Attempt attempt(site, {"sleep", "1000"});
  {
    const UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
    attempt.start({lock.get()});
  }
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  // The daemon has closed its descriptor, the keeper holds the lock.
  EXPECT_TRUE(locked(path));
  attempt.hang_up();
  attempt.adopt();
  attempt.send(FetchLocks{});
  const auto locks = attempt.wait<Locks>();
  ASSERT_TRUE(locks.has_value());
  EXPECT_EQ(locks->count, 1U);
  ASSERT_EQ(attempt.locks.size(), 1U);
  EXPECT_EQ(::flock(attempt.locks.front().get(), LOCK_EX | LOCK_NB), 0)
      << "not the same open file description";
  attempt.send(Kill{.reason = {}});
  EXPECT_TRUE(attempt.end().complete);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_TRUE(locked(path)) << "the adopter's descriptor keeps the lock after the keeper's end";
  attempt.locks.clear();
  EXPECT_FALSE(locked(path));
}

TEST(KeeperAdoption, TheLockIsHeldUntilTheEndIsAcknowledged) {
  Site site;
  const std::string path = (site.dir / "gpu-0").string();
  Attempt attempt(site, {"true"});
  {
    const UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
    attempt.start({lock.get()});
  }
  EXPECT_TRUE(attempt.end().complete);
  attempt.hang_up();
  EXPECT_TRUE(end_after_adoption(attempt).complete);  // told again, as often as it takes
  EXPECT_TRUE(locked(path));
  attempt.hang_up();
  EXPECT_TRUE(end_after_adoption(attempt).complete);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_FALSE(locked(path));
}

TEST(KeeperAdoption, AReasonOverItsLimitIsRefusedBeforeItIsSent) {
  Site site;
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start();
  auto link = [&] {
    EXPECT_TRUE(attempt.wait<Started>().has_value());
    return KeeperLink::connect(attempt.spec.attempt_dir);
  }();
  ASSERT_TRUE(link.ok());
  const std::string longest(EndRecord::kMaxReason, 'x');
  EXPECT_EQ(link->send(Stop{.reason = longest + "x", .grace = 1s}).error().code, Errc::too_large);
  EXPECT_EQ(link->send(Kill{.reason = longest + "x"}).error().code, Errc::too_large);
  EXPECT_TRUE(link->send(Kill{.reason = longest}).ok());
  EXPECT_EQ(attempt.end().stop_reason, longest);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperAdoption, AnAcknowledgementBeforeTheEndIsIgnored) {
  Site site;
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start();
  attempt.send(Ack{});
  attempt.send(Kill{.reason = {}});
  EXPECT_TRUE(attempt.end().complete);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperAdoption, EndsTheTreeWhenNoDaemonComesInTime) {
  Site site;
  Attempt attempt(site, {"sleep", "1000"});
  attempt.spec.daemon_gone = 50ms;
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  const BootTime gone = BootClock::now();
  attempt.hang_up();
  ASSERT_TRUE(record_appears(attempt));
  const EndRecord record = end_after_adoption(attempt);
  EXPECT_EQ(record.cause, EndCause::daemon_gone);
  EXPECT_EQ(WTERMSIG(*record.wait_status), SIGTERM);
  ASSERT_TRUE(record.stop_requested.has_value());
  EXPECT_GE(record.stop_requested->boot - gone, 50ms);
  EXPECT_EQ(attempt.finish(), 0);
}

// Stopped, a daemon keeps its connections.
TEST(KeeperAdoption, ADaemonThatReadsNothingForTooLongCountsAsGone) {
  Site site;
  Attempt silent(site, {"sleep", "1000"}, "7f3a91c2.1");
  Attempt heard(site, {"sleep", "1000"}, "7f3a91c3.1");
  for (Attempt* const attempt : {&silent, &heard}) {
    attempt->spec.daemon_gone = 50ms;  // it is given as long as a daemon gives a keeper all the same
    attempt->start();
    ASSERT_TRUE(attempt->wait<Started>().has_value());
  }
  const BootTime since = BootClock::now();
  while (!read_end_record(silent.spec.attempt_dir) && BootClock::now() < since + 20s) {
    ASSERT_TRUE(heard.wait<Locks>().has_value()) << "nothing was asked";
  }
  EXPECT_GE(BootClock::now() - since, 5s);
  const EndRecord record = silent.end();
  EXPECT_EQ(record.cause, EndCause::daemon_gone);
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(silent.finish(), 0);
  heard.send(Stop{.reason = "still there", .grace = 10s});
  EXPECT_EQ(heard.end().cause, EndCause::stop);
  EXPECT_EQ(heard.finish(), 0);
}

// The next daemon finds it running, and ends it.
bool runs_until_stopped(Attempt& attempt) {
  attempt.adopt();
  const auto welcome = attempt.wait<Welcome>();
  if (!welcome || welcome->phase != KeeperPhase::running) return false;
  attempt.send(Stop{.reason = "later", .grace = 10s});
  return attempt.end().cause == EndCause::stop && attempt.finish() == 0;
}

TEST(KeeperAdoption, AnAdoptionStopsTheClock) {
  Site site;
  Attempt attempt(site, {"sleep", "1000"});
  attempt.spec.daemon_gone = 5s;
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  attempt.hang_up();
  EXPECT_TRUE(runs_until_stopped(attempt));
}

TEST(KeeperAdoption, TheOwnersEndCountsOnlyWhileNoDaemonIsThere) {
  Site site;
  Idle owner;
  auto pidfd = open_pidfd(owner.pid());
  ASSERT_TRUE(pidfd.ok());
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start({}, pidfd->get());
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  owner.end();
  attempt.send(FetchLocks{});
  ASSERT_TRUE(attempt.wait<Locks>().has_value());  // it runs on: the daemon decides
  attempt.hang_up();
  ASSERT_TRUE(record_appears(attempt));
  const EndRecord record = end_after_adoption(attempt);
  EXPECT_EQ(record.cause, EndCause::owner_gone);
  EXPECT_TRUE(record.complete);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperAdoption, TheOwnersEndWithoutADaemonEndsTheTree) {
  Site site;
  Idle owner;
  auto pidfd = open_pidfd(owner.pid());
  ASSERT_TRUE(pidfd.ok());
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start({}, pidfd->get());
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  attempt.hang_up();
  owner.end();
  ASSERT_TRUE(record_appears(attempt));
  EXPECT_EQ(end_after_adoption(attempt).cause, EndCause::owner_gone);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperAdoption, ADisownedJobGoesOnWithoutOwnerAndDaemon) {
  Site site;
  Idle owner;
  auto pidfd = open_pidfd(owner.pid());
  ASSERT_TRUE(pidfd.ok());
  Attempt attempt(site, {"sleep", "1000"});
  attempt.spec.daemon_gone = Duration{};  // at once
  attempt.start({}, pidfd->get());
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  owner.end();  // noticed, but the daemon decides
  attempt.send(Disown{});
  attempt.hang_up();
  // Whether to end was decided when the keeper saw the hang-up, before it reads anything of this connection.
  EXPECT_TRUE(runs_until_stopped(attempt));
}

TEST(KeeperAdoption, ASideProcessEndsWithItsClientAndItsKeeperToo) {
  Site site;
  const std::string number = unique_number();
  Attempt attempt(site, {"sleep", number}, "reward");
  attempt.spec.daemon_gone = Duration{};
  attempt.spec.wait_for_ack = false;
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  attempt.hang_up();
  EXPECT_EQ(attempt.wait_for_keeper(), 0);
  EXPECT_EQ(processes_with(number), 0);
}

TEST(KeeperAdoption, WorksInAFolderWhosePathIsTooLongForASocket) {
  Site site;
  Attempt attempt(site, {"true"});
  attempt.spec.attempt_dir += "/" + std::string(200, 'x') + "/7f3a91c2.1";
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  attempt.hang_up();
  EXPECT_TRUE(end_after_adoption(attempt).complete);
  EXPECT_EQ(attempt.finish(), 0);
}

TEST(KeeperAdoption, AKeeperThatIsGoneIsTold) {
  Site site;
  Attempt attempt(site, {"true"});
  EXPECT_EQ(KeeperLink::connect(attempt.spec.attempt_dir).error().code, Errc::not_found);
  attempt.start();
  EXPECT_TRUE(attempt.end().complete);
  EXPECT_EQ(attempt.finish(), 0);
  EXPECT_EQ(KeeperLink::connect(attempt.spec.attempt_dir).error().code, Errc::unavailable);
}

TEST(KeeperAdoption, ThatAKeeperIsComingCanBeToldBeforeItHasASocket) {
  for (const bool forked : {false, true}) {
    Site site;
    if (forked) site.starter.emplace(site.keeper);
    Attempt attempt(site, {"sleep", "1000"});
    EXPECT_FALSE(keeper_lives(attempt.spec.attempt_dir)) << "no folder yet";
    attempt.start();
    EXPECT_TRUE(keeper_lives(attempt.spec.attempt_dir)) << "whether it has got to its socket or not";
    ASSERT_TRUE(attempt.wait<Started>().has_value());
    const auto second = start_keeper(attempt.spec, {.program = site.keeper});
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Errc::conflict);
    attempt.kill_keeper();
    attempt.wait_for_keeper();
    EXPECT_FALSE(keeper_lives(attempt.spec.attempt_dir)) << "neither init nor leader has the lock";
  }
}

TEST(KeeperAdoption, AKeeperIsFoundAndKilledByItsFoldersLock) {
  Site site;
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  EXPECT_EQ(kill_keeper((site.dir / "another").string()), 0U);
  EXPECT_EQ(kill_keeper(site.dir.path().string()), 0U);
  EXPECT_EQ(kill_keeper(attempt.spec.attempt_dir), 1U);
  EXPECT_EQ(attempt.wait_for_keeper(), SIGKILL);
  EXPECT_EQ(kill_keeper(attempt.spec.attempt_dir), 0U);
}

TEST(KeeperAdoption, NonsenseAndOtherVersionsDoNotDisturbIt) {
  Site site;
  Attempt attempt(site, {"sleep", "1000"});
  attempt.start();
  ASSERT_TRUE(attempt.wait<Started>().has_value());
  const auto connect = [&] {
    const UniqueFd folder(::open(attempt.spec.attempt_dir.c_str(), O_PATH | O_CLOEXEC));
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/keeper.sock", folder.get());
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return socket;
  };
  const auto ask = [&](std::string_view packet) {
    const UniqueFd socket = connect();
    EXPECT_EQ(::send(socket.get(), packet.data(), packet.size(), 0), static_cast<ssize_t>(packet.size()));
    std::string answer(4096, '\0');
    const ssize_t got = ::recv(socket.get(), answer.data(), answer.size(), 0);
    answer.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return answer;
  };
  EXPECT_EQ(ask("\x7fnonsense"), "");
  EXPECT_EQ(ask(encode(KeeperCommand(Kill{.reason = "without a Hello"}))), "");
  const auto later =
      parse_keeper_event(ask(encode(KeeperCommand(Hello{.version = 99})) + "and more that we cannot know"));
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(std::get<Welcome>(*later).version, kKeeperProtocolVersion);
  attempt.send(Stop{.reason = "still there", .grace = 10s});
  EXPECT_EQ(attempt.end().stop_reason, "still there");
  EXPECT_EQ(attempt.finish(), 0);
}

}  // namespace
}  // namespace ebb::process
