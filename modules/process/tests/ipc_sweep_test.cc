#include "ebb/process/ipc_sweep.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "ebb/base/files.h"
#include "world.h"

namespace ebb::process {
namespace {

using testing::Idle;
using testing::in_child;
using Kind = IpcObject::Kind;

WallTime now() { return system_clock().wall(); }

// A System V segment that another process made and left.
struct Made {
  int id = -1;
  pid_t creator = 0;
};
Made shm_of_a_child(uid_t uid = ::geteuid()) {
  int pipe[2];
  EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  Made made;
  {
    const Idle child([&] {
      EXPECT_EQ(::setresuid(uid, uid, uid), 0);
      const int id = ::shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
      EXPECT_EQ(::write(pipe[1], &id, sizeof id), ssize_t{sizeof id});
    });
    EXPECT_EQ(::read(pipe[0], &made.id, sizeof made.id), ssize_t{sizeof made.id});
    made.creator = child.pid();
  }
  ::close(pipe[0]);
  ::close(pipe[1]);
  return made;
}

const IpcObject* find(const std::vector<IpcObject>& objects, Kind kind, int id) {
  const auto at = std::find_if(objects.begin(), objects.end(),
                               [&](const IpcObject& o) { return o.kind == kind && o.id == id; });
  return at == objects.end() ? nullptr : &*at;
}

IpcClaim claim_now() {
  IpcClaim claim;
  claim.uid = ::geteuid();
  claim.started = now() - std::chrono::minutes(1);
  claim.ended = now() + std::chrono::minutes(1);
  return claim;
}

// Everything below happens in an IPC namespace of its own: nobody else's objects are there to be hit.
void alone(const std::function<void()>& body) {
  in_child([&] {
    ASSERT_TRUE(testing::enter_mount_namespace());
    ASSERT_EQ(::unshare(CLONE_NEWIPC), 0);
    ASSERT_TRUE(testing::mount_tmpfs("/dev/shm", "1m"));
    body();
  });
}

TEST(Ipc, ListsEveryKind) {
  alone([] {
    const Made shm = shm_of_a_child();
    const int sem = ::semget(IPC_PRIVATE, 3, IPC_CREAT | 0600), msg = ::msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    const UniqueFd posix(::shm_open("/ebb-posix", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_TRUE(posix);
    const auto found = list_ipc();
    ASSERT_TRUE(found.ok());
    const IpcObject* object = find(*found, Kind::shm, shm.id);
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(object->creator, shm.creator);
    EXPECT_EQ(object->uid, ::geteuid());
    EXPECT_EQ(object->users, 0u);
    EXPECT_EQ(object->bytes, 4096u);
    EXPECT_NE(find(*found, Kind::sem, sem), nullptr);
    EXPECT_NE(find(*found, Kind::msg, msg), nullptr);
    const auto file = std::find_if(found->begin(), found->end(), [](const IpcObject& o) {
      return o.kind == Kind::posix_shm && o.name == "/dev/shm/ebb-posix";
    });
    ASSERT_NE(file, found->end());
    EXPECT_EQ(file->users, 1u) << "we have it open";
    EXPECT_LT(now() - file->changed, std::chrono::minutes(1));
  });
}

TEST(Ipc, AFileThatIsOnlyMappedIsInUse) {
  alone([] {
    UniqueFd posix(::shm_open("/ebb-mapped", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_EQ(::ftruncate(posix.get(), 4096), 0);
    void* at = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, posix.get(), 0);
    ASSERT_NE(at, MAP_FAILED);
    posix.reset();
    auto found = list_ipc();
    EXPECT_EQ(found->at(0).users, 1u);
    ::munmap(at, 4096);
    found = list_ipc();
    EXPECT_EQ(found->at(0).users, 0u);
  });
}

TEST(IpcSweep, RemovesWhatTheAttemptsProcessesMade) {
  alone([] {
    const Made mine = shm_of_a_child(), other = shm_of_a_child();
    IpcClaim claim = claim_now();
    claim.pids = {mine.creator};
    const auto sweep = sweep_ipc(claim);
    ASSERT_TRUE(sweep.ok());
    ASSERT_EQ(sweep->removed.size(), 1u);
    EXPECT_EQ(sweep->removed[0].id, mine.id);
    EXPECT_EQ(describe(sweep->removed[0]), "shared memory id " + std::to_string(mine.id));
    EXPECT_TRUE(sweep->failed.empty());
    EXPECT_EQ(::shmctl(mine.id, IPC_STAT, nullptr), -1);
    const auto left = list_ipc();
    EXPECT_EQ(find(*left, Kind::shm, mine.id), nullptr);
    EXPECT_NE(find(*left, Kind::shm, other.id), nullptr) << "another process's is never touched";
  });
}

// As root in a container: the kernel lets only the owner, or CAP_SYS_ADMIN, remove an object.
TEST(IpcSweep, RemovesAnotherUsersSegmentWithoutCapSysAdmin) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has other users' jobs";
  alone([] {
    constexpr uid_t kSomebody = 3'999'999'992u;
    const Made made = shm_of_a_child(kSomebody);
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2];
    ASSERT_EQ(::syscall(SYS_capget, &header, data), 0);
    data[0].effective &= ~(1U << CAP_SYS_ADMIN);
    data[0].permitted &= ~(1U << CAP_SYS_ADMIN);
    ASSERT_EQ(::syscall(SYS_capset, &header, data), 0);
    IpcClaim claim = claim_now();
    claim.uid = kSomebody;
    claim.pids = {made.creator};
    const auto sweep = sweep_ipc(claim);
    ASSERT_TRUE(sweep.ok());
    EXPECT_THAT(sweep->failed, ::testing::IsEmpty());
    EXPECT_EQ(sweep->removed.size(), 1u);
    EXPECT_EQ(find(*list_ipc(), Kind::shm, made.id), nullptr);
  });
}

TEST(IpcSweep, RemovesAllKindsWhereTheUserHadNoOtherProcess) {
  alone([] {
    const int before = ::semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    IpcClaim claim = claim_now();
    claim.alone = true;
    claim.before = *list_ipc();
    shm_of_a_child();
    ASSERT_GE(::semget(IPC_PRIVATE, 1, IPC_CREAT | 0600), 0);
    ASSERT_GE(::msgget(IPC_PRIVATE, IPC_CREAT | 0600), 0);
    UniqueFd(::shm_open("/ebb-left", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    const UniqueFd used(::shm_open("/ebb-used", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    const auto sweep = sweep_ipc(claim);
    ASSERT_TRUE(sweep.ok());
    EXPECT_EQ(sweep->removed.size(), 4u);
    EXPECT_NE(::access("/dev/shm/ebb-left", F_OK), 0);
    EXPECT_EQ(::access("/dev/shm/ebb-used", F_OK), 0) << "somebody has it open";
    EXPECT_NE(find(*list_ipc(), Kind::sem, before), nullptr) << "it was there before";
  });
}

TEST(IpcSweep, RemovesMessageQueues) {
  alone([] {
    // A /dev of our own, so that the test does not depend on the machine's having one for queues.
    ASSERT_TRUE(testing::mount_tmpfs("/dev", "64k"));
    std::filesystem::create_directories("/dev/shm");
    std::filesystem::create_directories("/dev/mqueue");
    ASSERT_EQ(::mount("mqueue", "/dev/mqueue", "mqueue", 0, nullptr), 0);
    const mqd_t queue = ::mq_open("/ebb-queue", O_CREAT | O_RDWR, 0600, nullptr);
    ASSERT_NE(queue, -1);
    ::mq_close(queue);
    IpcClaim claim = claim_now();
    claim.alone = true;
    const auto sweep = sweep_ipc(claim);
    ASSERT_EQ(sweep->removed.size(), 1u);
    EXPECT_EQ(describe(sweep->removed[0]), "/dev/mqueue/ebb-queue");
  });
}

TEST(IpcClaim, SaysNoWhenInDoubt) {
  IpcClaim claim = claim_now();
  claim.pids = {4711};
  IpcObject object;
  object.kind = Kind::shm;
  object.id = 7;
  object.uid = object.creator_uid = claim.uid;
  object.creator = 4711;
  object.changed = now();
  EXPECT_TRUE(made_by(object, claim));
  const auto with = [&](auto change) {
    IpcObject other = object;
    change(other);
    return made_by(other, claim);
  };
  EXPECT_FALSE(with([](IpcObject& o) { o.uid += 1; })) << "given to another user";
  EXPECT_FALSE(with([](IpcObject& o) { o.creator_uid += 1; }));
  EXPECT_FALSE(with([](IpcObject& o) { o.users = 1; }));
  EXPECT_FALSE(with([](IpcObject& o) { o.creator = 4712; }));
  EXPECT_FALSE(with([&](IpcObject& o) { o.changed = claim.started - std::chrono::seconds(3); }));
  EXPECT_FALSE(with([&](IpcObject& o) { o.changed = claim.ended + std::chrono::seconds(1); }));
  EXPECT_FALSE(with([](IpcObject& o) { o.kind = Kind::sem, o.creator = 0; })) << "nobody knows who made it";
  claim.before = {object};
  EXPECT_FALSE(made_by(object, claim));
}

// Its time is that of the kernel's last tick, in whole seconds.
TEST(IpcClaim, HoldsForWhatIsMadeRightAfterAStartAtTheBeginningOfASecond) {
  IpcClaim claim = claim_now();
  claim.pids = {4711};
  claim.started = std::chrono::floor<std::chrono::seconds>(claim.started) + std::chrono::microseconds(300);
  IpcObject object;
  object.kind = Kind::shm;
  object.uid = object.creator_uid = claim.uid;
  object.creator = 4711;
  object.changed = std::chrono::floor<std::chrono::seconds>(claim.started) - std::chrono::seconds(1);
  EXPECT_TRUE(made_by(object, claim));
}

TEST(IpcClaim, IsAloneOnlyWhereTheUserHasNoOtherProcessBeforeAndAfter) {
  alone([] {
    const int sem = ::semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    constexpr uid_t kNobodys = 3'999'999'991u;
    const AttemptId attempt{JobId(0x7f3a91c2), 1};
    const IpcClaim claim = claim_before_start(attempt, kNobodys);
    EXPECT_TRUE(claim.alone);
    EXPECT_NE(find(claim.before, Kind::sem, sem), nullptr);
    EXPECT_FALSE(claim_before_start(attempt, ::geteuid()).alone);
    // Alone before, but not any more: whose this is, nobody knows.
    IpcClaim ours = claim_now();
    ours.alone = true;
    const auto kept = sweep_after_end(ours);
    ASSERT_TRUE(kept.ok());
    EXPECT_TRUE(kept->removed.empty());
    EXPECT_NE(find(*list_ipc(), Kind::sem, sem), nullptr);
  });
}

TEST(IpcParser, LeavesGarbageOut) {
  EXPECT_TRUE(parse_sysvipc(Kind::shm, "").empty());
  EXPECT_TRUE(parse_sysvipc(Kind::shm, "a b c\n1 2 3\n").empty());
  const std::string text =
      "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      "
      "atime      dtime      "
      "ctime                   rss                  swap\n"
      "         0          3  1600                  4096    77    78      2  1000  1000  1001  1000          "
      "0          0 "
      "1763938778                  4096                     0\n";
  const auto found = parse_sysvipc(Kind::shm, text);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, 3);
  EXPECT_EQ(found[0].creator, 77);
  EXPECT_EQ(found[0].users, 2u);
  EXPECT_EQ(found[0].uid, 1000u);
  EXPECT_EQ(found[0].creator_uid, 1001u);
  EXPECT_EQ(found[0].changed, WallTime(std::chrono::seconds(1763938778)));
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    EXPECT_LE(parse_sysvipc(Kind::shm, text.substr(0, cut)).size(), 1u);
  }
  EXPECT_TRUE(parse_sysvipc(Kind::sem, text).empty());
}

TEST(Ipc, KnowsWhetherAUserHasProcesses) {
  EXPECT_TRUE(uid_has_processes(::geteuid()));
  EXPECT_FALSE(uid_has_processes(3'999'999'991u));
}

}  // namespace
}  // namespace ebb::process
