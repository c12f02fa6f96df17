#include "ebb/process/census.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "census_detail.h"
#include "ebb/base/files.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/socket_owner.h"
#include "world.h"

namespace ebb::process {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Idle;
using testing::in_child;
using ::testing::IsEmpty;
using testing::TempDir;
using ::testing::Truly;
using Kind = Leftover::Kind;

// Each test has a job id of its own, since they run beside each other and all look at the whole machine.
class CensusTest : public ::testing::Test {
 protected:
  CensusTest() {
    std::filesystem::create_directories(dir_ / "state/attempts");
    std::filesystem::create_directories(dir_ / "scratch");
    std::filesystem::create_directories(dir_ / "locks");
    places_.state_dir = dir_ / "state";
    places_.server = dir_ / "state/ebb.sock";
    places_.scratch = dir_ / "scratch";
    places_.lock_dirs = {dir_ / "locks"};
  }

  // Executes a program that waits, with the marks of an attempt.
  static void become(const std::vector<std::string>& argv, const std::vector<std::string>& environment) {
    std::vector<char*> words, variables;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    for (const std::string& word : environment) variables.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    variables.push_back(nullptr);
    ::execve(argv[0].c_str(), words.data(), variables.data());
    ::perror("execve");
    ::_exit(1);
  }
  [[nodiscard]] std::vector<std::string> marks() const {
    return {"EBB_JOB_ID=" + id_.job.str(), "EBB_ATTEMPT=" + std::to_string(id_.number),
            "EBB_SERVER=" + places_.server, "PATH=/usr/bin:/bin"};
  }
  [[nodiscard]] std::function<void()> marked(const std::function<void()>& before = {}) const {
    return [=, this] {
      if (before) before();
      become({"/bin/sleep", "60"}, marks());
    };
  }
  // What looks like a keeper: a shell of that name, which runs the script called like the attempt.
  [[nodiscard]] std::function<void()> keeper(const std::string& label, const std::string& script) const {
    std::filesystem::copy_file("/bin/dash", dir_ / "ebb-keeper",
                               std::filesystem::copy_options::overwrite_existing);
    std::ofstream(dir_ / label) << script;
    return [=, this] {
      EXPECT_EQ(::chdir(dir_.path().c_str()), 0);
      become({dir_ / "ebb-keeper", label}, {"PATH=/usr/bin:/bin"});
    };
  }

  [[nodiscard]] const CensusProcess* find(const Census& census, pid_t pid) const {
    const auto at = std::find_if(census.processes.begin(), census.processes.end(),
                                 [&](const CensusProcess& p) { return p.identity.pid == pid; });
    return at == census.processes.end() ? nullptr : &*at;
  }
  // Leftovers of this test's job alone.
  [[nodiscard]] std::vector<Leftover> leftovers(const Expected& expected = {}) const {
    auto found = compare(take_census(places_), expected);
    std::erase_if(found, [&](const Leftover& l) { return !l.attempt || l.attempt->job != id_.job; });
    return found;
  }
  [[nodiscard]] Expected living() const {
    Expected expected;
    expected.living = {id_};
    return expected;
  }

  TempDir dir_;
  AttemptId id_{JobId::random(), 1};
  CensusPlaces places_;
};

TEST_F(CensusTest, FindsAProcessByItsEnvironmentAndItsDaemonBySocket) {
  const Idle job(marked());
  const Census census = take_census(places_);
  const CensusProcess* found = find(census, job.pid());
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->attempt, id_);
  EXPECT_TRUE(found->evidence.environment);
  EXPECT_FALSE(found->evidence.cgroup);
  EXPECT_TRUE(found->ours);
  EXPECT_EQ(found->comm, "sleep");
  EXPECT_TRUE(found->identity.open_if_same().ok());

  const auto left = leftovers();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].kind, Kind::process);
  EXPECT_EQ(left[0].what, "process " + std::to_string(job.pid()) + " (sleep)");
  EXPECT_THAT(left[0].detail, HasSubstr(id_.str()));
  EXPECT_THAT(left[0].advice, HasSubstr("kill -9 " + std::to_string(job.pid())));
  for (const Leftover& still : leftovers(living())) EXPECT_EQ(still.kind, Kind::missing);

  places_.server = "/another/daemon.sock";
  EXPECT_THAT(leftovers(), IsEmpty()) << "another daemon's job is none of ours";
  Expected knows;
  knows.jobs = {id_.job};
  EXPECT_EQ(leftovers(knows).size(), 1u);
}

TEST_F(CensusTest, FindsWhatHasErasedItsEnvironmentByItsKeeper) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, 0), 0);
  const Idle stand_in(keeper(id_.str(), "env -i setsid sleep 60 >/dev/null 2>&1 &\necho $! >&" +
                                            std::to_string(ready[1]) + "\nwait\n"));
  ::close(ready[1]);
  char text[32] = "";
  ASSERT_GT(::read(ready[0], text, sizeof text - 1), 0);
  ::close(ready[0]);
  const pid_t child = static_cast<pid_t>(std::stol(text));
  const Census census = take_census(places_);
  const CensusProcess* top = find(census, stand_in.pid());
  ASSERT_NE(top, nullptr);
  EXPECT_TRUE(top->keeper);
  EXPECT_EQ(top->label, id_.str());
  EXPECT_EQ(top->attempt, id_);
  const CensusProcess* below = find(census, child);
  ASSERT_NE(below, nullptr);
  EXPECT_FALSE(below->keeper);
  EXPECT_EQ(below->attempt, id_);
  EXPECT_TRUE(below->evidence.ancestry);
  EXPECT_FALSE(below->ours) << "nothing ties it to this daemon yet";
  std::filesystem::create_directory(dir_ / ("state/attempts/" + id_.str()));
  EXPECT_TRUE(find(take_census(places_), child)->ours);
  EXPECT_EQ(leftovers().size(), 2u);
  EXPECT_THAT(leftovers(living()), IsEmpty());
  const auto pidfd = find(census, child)->identity.open_if_same();
  ASSERT_TRUE(pidfd.ok());
  ::kill(child, SIGKILL);
}

TEST_F(CensusTest, FindsByItsSessionWhatLostItsKeeperAndItsMark) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const Idle leader(marked([&] {
    ::setsid();
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ready[0]);
      become({"/bin/sleep", "60"}, {});
    }
    EXPECT_EQ(::write(ready[1], &child, sizeof child), ssize_t{sizeof child});
  }));
  pid_t child = 0;
  ASSERT_EQ(::read(ready[0], &child, sizeof child), ssize_t{sizeof child});
  const CensusProcess* found = nullptr;
  const Census census = take_census(places_);
  found = find(census, child);
  ASSERT_NE(found, nullptr);
  EXPECT_TRUE(found->evidence.session);
  EXPECT_EQ(found->attempt, id_);
  EXPECT_EQ(leftovers().size(), 2u);
  ::kill(child, SIGKILL);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(CensusTest, ASideProcesssKeeperIsLeftOverOnlyWithoutItsClient) {
  const Idle stand_in(keeper("reward", "kill -STOP $$\n"));
  const Census census = take_census(places_);
  const CensusProcess* found = find(census, stand_in.pid());
  ASSERT_NE(found, nullptr);
  EXPECT_TRUE(found->keeper);
  EXPECT_EQ(found->label, "reward");
  EXPECT_FALSE(found->attempt);
  EXPECT_FALSE(found->orphan);
  Census alone;
  alone.processes = {*found};
  EXPECT_THAT(compare(alone, {}), IsEmpty());
  alone.processes[0].orphan = true;
  const auto left = compare(alone, {});
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].kind, Kind::keeper);
  EXPECT_THAT(left[0].what, HasSubstr("reward"));
}

// With a cgroup of the attempt's.
class CensusOfCgroups : public CensusTest {
 protected:
  void SetUp() override {
    const auto mounts = find_cgroup_mounts();
    if (!mounts || !mounts->unified || ::geteuid() != 0) GTEST_SKIP() << "no cgroup v2 to make groups in";
    base_ = mounts->unified->mount + "/" + cgroup_base_name(places_.state_dir);
    group_ = base_ + "/" + id_.str();
    ASSERT_TRUE(make_cgroup(base_).ok());
    ASSERT_TRUE(make_cgroup(group_).ok());
  }
  void TearDown() override {
    if (base_.empty()) return;
    EXPECT_TRUE(remove_cgroup(base_, BootClock::now() + std::chrono::seconds(10)).ok());
  }
  std::string base_, group_;
};

TEST_F(CensusOfCgroups, FindsProcessesByCgroupAndTheGroupItself) {
  ASSERT_TRUE(make_cgroup(group_ + "/job").ok());
  {
    const Idle job([&] { EXPECT_TRUE(write_cgroup(group_ + "/job", "cgroup.procs", "0").ok()); });
    const Census census = take_census(places_);
    const CensusProcess* found = find(census, job.pid());
    ASSERT_NE(found, nullptr);
    EXPECT_TRUE(found->evidence.cgroup);
    EXPECT_TRUE(found->ours);
    EXPECT_EQ(found->attempt, id_);
    const auto left = leftovers();
    ASSERT_EQ(left.size(), 2u);
    EXPECT_EQ(left[1].kind, Kind::cgroup);
    EXPECT_EQ(left[1].what, "cgroup " + group_);
    EXPECT_THAT(left[1].detail, HasSubstr("with 1 processes"));
  }
  const auto left = leftovers();
  ASSERT_EQ(left.size(), 1u);
  // The advice does what it says.
  EXPECT_EQ(std::system((left[0].advice + " 2>/dev/null").c_str()), 0) << left[0].advice;
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(CensusOfCgroups, FindsGroupsWhileOthersComeAndGo) {
  {
    const testing::PassingCgroups beside(base_);
    const auto is_ours = [&](const CensusCgroup& found) { return found.path == group_; };
    for (int look = 0; look < 100 && !HasFailure(); ++look) {
      Census census;
      census.places = places_;
      find_cgroups(census);
      EXPECT_THAT(census.unseen, IsEmpty());
      EXPECT_THAT(census.cgroups, Contains(Truly(is_ours)));
      EXPECT_THAT(cgroup_ids_below(base_), Contains(cgroup_id(group_)));
    }
  }
}

TEST_F(CensusTest, FindsSocketsAndScratch) {
  const auto attempt = dir_ / ("state/attempts/" + id_.str());
  std::filesystem::create_directory(attempt);
  std::ofstream(attempt / "end") << "x";
  EXPECT_THAT(leftovers(), IsEmpty()) << "an end record alone is history";
  std::ofstream(attempt / "keeper.sock") << "";
  std::filesystem::create_directory(dir_ / ("scratch/" + id_.str()));
  std::filesystem::create_directory(dir_ / "scratch/somebody's");
  const auto left = leftovers();
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].kind, Kind::socket);
  EXPECT_EQ(left[1].kind, Kind::scratch);
  EXPECT_THAT(left[1].advice, HasSubstr("rm -rf"));
  for (const Leftover& still : leftovers(living())) EXPECT_EQ(still.kind, Kind::missing);
}

TEST_F(CensusTest, FindsMountsInTheAttemptsFolders) {
  in_child([&] {
    ASSERT_TRUE(testing::enter_mount_namespace());
    const auto point = dir_ / ("scratch/" + id_.str() + "/a mount");
    std::filesystem::create_directories(point);
    ASSERT_TRUE(testing::mount_tmpfs(point, "64k"));
    const auto left = leftovers();
    ASSERT_EQ(left.size(), 2u);
    EXPECT_EQ(left[1].kind, Kind::mount);
    EXPECT_EQ(left[1].what, "mount " + point.string());
  });
}

TEST_F(CensusTest, FindsWhoHoldsALock) {
  const auto file = dir_ / "locks/port-38001";
  const auto hold = [&] {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT, 0666);  // goes on to the new program
    EXPECT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  };
  std::ofstream(dir_ / "locks/gpu-free") << "";
  const auto locks = [&](const Expected& expected) {
    auto found = compare(take_census(places_), expected);
    std::erase_if(found, [](const Leftover& l) { return l.kind != Kind::lock; });
    return found;
  };
  {
    const Idle stranger(hold);
    const Census census = take_census(places_);
    ASSERT_EQ(census.locks.size(), 1u) << "a lock that nobody holds is only a file";
    EXPECT_EQ(census.locks[0].name, "port-38001");
    ASSERT_EQ(census.locks[0].holders.size(), 1u);
    EXPECT_EQ(census.locks[0].holders[0].pid, stranger.pid());
    EXPECT_THAT(locks({}), IsEmpty()) << "another daemon's lease";
    Expected expected;
    expected.daemon = stranger.pid();
    ASSERT_EQ(locks(expected).size(), 1u);
    EXPECT_THAT(locks(expected)[0].detail, HasSubstr("leased to no job"));
    expected.locks = {"port-38001"};
    EXPECT_THAT(locks(expected), IsEmpty());
  }
  {
    const Idle daemon([&] {
      const int fd = ::open((dir_ / "locks/daemon-0").c_str(), O_RDWR | O_CREAT, 0600);
      EXPECT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
    });
    Expected expected;
    expected.daemon = daemon.pid();
    EXPECT_THAT(locks(expected), IsEmpty()) << "a daemon's lock that is no lease";
  }
  {
    const Idle job(marked(hold));
    Expected expected = living();
    expected.locks = {"port-38001"};
    ASSERT_EQ(locks(expected).size(), 1u);
    EXPECT_THAT(locks(expected)[0].detail, HasSubstr("jobs must never hold a lock"));
  }
  std::filesystem::create_directory(dir_ / ("state/attempts/" + id_.str()));
  const auto start = keeper(id_.str(), "kill -STOP $$\n");
  const Idle stand_in([&] {
    const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    EXPECT_EQ(::flock(fd.get(), LOCK_EX | LOCK_NB), 0);
    ::dup2(fd.get(), 9);
    start();
  });
  ASSERT_EQ(locks({}).size(), 1u);
  EXPECT_THAT(locks({})[0].detail, HasSubstr("held by keeper"));
  Expected expected = living();
  ASSERT_EQ(locks(expected).size(), 1u) << "a living job's keeper holds what was not leased to it";
  expected.locks = {"port-38001"};
  EXPECT_THAT(locks(expected), IsEmpty());
}

TEST_F(CensusTest, FindsListenersOfEndedAttempts) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd.get(), 1), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  places_.first_port = places_.last_port = ntohs(address.sin_port);
  EXPECT_THAT(leftovers(), IsEmpty()) << "a stranger's";
  const Idle job(marked([&] { ::fcntl(fd.get(), F_SETFD, 0); }));
  const auto left = leftovers();
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[1].kind, Kind::listener);
  EXPECT_THAT(left[1].what, HasSubstr("127.0.0.1 port " + std::to_string(places_.first_port)));
}

TEST_F(CensusTest, NamesSharedMemoryOfAnEndedAttempt) {
  Census census;
  IpcObject object;
  object.kind = IpcObject::Kind::shm;
  object.id = 42;
  object.creator = 4711;
  object.changed = WallTime(std::chrono::seconds(100));
  census.ipc = {object};
  Expected expected;
  IpcClaim claim;
  claim.attempt = id_;
  claim.started = WallTime(std::chrono::seconds(50));
  claim.ended = WallTime(std::chrono::seconds(150));
  claim.pids = {4711};
  expected.shared = {claim};
  const auto left = compare(census, expected);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].kind, Kind::ipc);
  EXPECT_EQ(left[0].advice, "if it is nobody else's, remove it: ipcrm -m 42");
}

TEST_F(CensusTest, CountsOnlyWhatIsThereTwice) {
  const Idle stays(marked());
  std::vector<Leftover> first;
  {
    const Idle goes(marked());
    first = leftovers();
    EXPECT_EQ(first.size(), 2u);
  }
  const auto sure = confirm(first, leftovers());
  ASSERT_EQ(sure.size(), 1u);
  EXPECT_THAT(sure[0].what, HasSubstr(std::to_string(stays.pid())));
}

TEST_F(CensusTest, AZombieCountsUnlessProcessOneIsToReapIt) {
  Census census;
  CensusProcess process;
  process.identity.pid = 4711;
  process.comm = "python3";
  process.zombie = process.ours = true;
  process.attempt = id_;
  process.ppid = 4710;
  census.processes = {process};
  const auto left = compare(census, {});
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].what, "zombie 4711 (python3)");
  EXPECT_THAT(left[0].advice, HasSubstr("4710"));
  census.processes[0].ppid = 1;
  EXPECT_THAT(compare(census, {}), IsEmpty());
}

TEST_F(CensusTest, ALivingAttemptWithoutAKeeperIsMissing) {
  const auto left = leftovers(living());
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].kind, Kind::missing);
  EXPECT_STREQ(kind_text(left[0].kind), "missing");
}

TEST_F(CensusTest, CountsWhatItCouldNotSee) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(unseen_of("environment", 1), "the environment of 1 process that even root may not look at");
  EXPECT_EQ(unseen_of("environment", 2), "the environment of 2 processes that even root may not look at");
  in_child([] {
    ASSERT_EQ(::setuid(65534), 0);
    EXPECT_EQ(unseen_of("descriptors", 1), "the descriptors of 1 process of another user; root sees it");
  });
}

TEST_F(CensusTest, SaysWhatItCouldNotSee) {
  if (::geteuid() != 0) GTEST_SKIP() << "root's processes are what cannot be seen";
  in_child([&] {
    ASSERT_EQ(::setuid(65534), 0);
    EXPECT_THAT(take_census({}).unseen, ::testing::Contains(HasSubstr("of other users; root sees them")));
  });
}

TEST(CensusCgroup, TheNameTellsTheAttempt) {
  const auto name = [](std::string_view path) { return attempt_of_cgroup(path, "ebb-01234567"); };
  EXPECT_EQ(name("/x/ebb-01234567/7f3a91c2.1/job")->attempt.str(), "7f3a91c2.1");
  EXPECT_TRUE(name("/x/ebb-01234567/7f3a91c2.1/job")->ours);
  EXPECT_FALSE(name("/ebb-89abcdef/7f3a91c2.2/keeper")->ours);
  EXPECT_FALSE(name("/x/7f3a91c2.1/job"));
  EXPECT_FALSE(name("/ebb-01234567/daemon"));
  EXPECT_FALSE(name("/"));
  EXPECT_FALSE(name(""));
  // A daemon that runs in another's job: ours goes first, else the innermost.
  EXPECT_EQ(name("/ebb-01234567/7f3a91c2.1/job/ebb-99999999/0000000a.3/job")->attempt.str(), "7f3a91c2.1");
  EXPECT_EQ(name("/ebb-88888888/7f3a91c2.1/job/ebb-99999999/0000000a.3/job")->attempt.str(), "0000000a.3");
  EXPECT_EQ(name("/ebb-88888888/7f3a91c2.1/job/ebb-01234567/0000000a.3/job")->attempt.str(), "0000000a.3");
}

TEST(CensusMounts, EscapesAreUndone) {
  EXPECT_THAT(parse_mount_points("1 2 8:1 / /a\\040b\\134c rw - ext4 d rw\n\nshort line\n"
                                 "1 2 8:1 / /plain rw - ext4 d rw\n1 2 8:1 / /odd\\9 rw - x y z"),
              ElementsAre("/a b\\c", "/plain", "/odd\\9"));
}

}  // namespace
}  // namespace ebb::process
