#include "ebb/devices/locks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <set>
#include <vector>

#include "ebb/base/files.h"
#include "support.h"

namespace ebb::devices {
namespace {

using test::in_child;
using test::TempDir;
using testing::HasSubstr;

mode_t mode_of(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0;
}

TEST(LockDirectory, IsSharedByAllUsersAndItsFilesToo) {
  const TempDir folder;
  const mode_t umask = ::umask(0077);
  const auto locks = LockDirectory::open_shared(folder / "ebb");
  ASSERT_TRUE(locks) << locks.error().message;
  const auto lock = locks->lock("gpu-GPU-1");
  ::umask(umask);
  ASSERT_TRUE(lock) << lock.error().message;
  EXPECT_EQ(mode_of(folder / "ebb"), 01777U);
  EXPECT_EQ(mode_of(folder / "ebb/gpu-GPU-1"), 0666U);
}

TEST(LockDirectory, PrivateOneIsForOneUser) {
  const TempDir folder;
  const auto locks = LockDirectory::open_private(folder / "locks");
  ASSERT_TRUE(locks);
  ASSERT_TRUE(locks->lock("gpu-declared-0"));
  EXPECT_EQ(mode_of(folder / "locks"), 0700U);
  EXPECT_EQ(mode_of(folder / "locks/gpu-declared-0"), 0600U);
}

TEST(LockDirectory, EnvironmentNamesAnotherOne) {
  const TempDir folder;
  ::setenv("EBB_LOCK_DIR", (folder / "here").c_str(), 1);
  const auto locks = LockDirectory::open_machine_wide();
  ::unsetenv("EBB_LOCK_DIR");
  ASSERT_TRUE(locks);
  EXPECT_EQ(locks->path(), folder / "here");
}

TEST(LockDirectory, ThatCannotBeMadeSaysWhoMakesIt) {
  const TempDir folder;
  std::ofstream(folder / "file").put('\n');
  const auto locks = LockDirectory::open_shared(folder / "file/ebb");
  ASSERT_FALSE(locks);
  EXPECT_THAT(locks.error().message, HasSubstr("install -d -m 1777"));
  EXPECT_THAT(locks.error().message, HasSubstr("EBB_LOCK_DIR"));
}

TEST(LockDirectory, SecondProcessIsRefusedAndToldWhoHoldsIt) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  const auto lock = locks->lock("port-38001");
  ASSERT_TRUE(lock);
  const std::string us = "pid " + std::to_string(::getpid()) + " (devices_test";
  test::in_child([&] {
    const auto second = LockDirectory::open_shared(folder.path())->lock("port-38001");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::conflict);
    // Which of the two it names is open: the child has a copy of the description that holds the lock.
    EXPECT_THAT(second.error().message, HasSubstr("port-38001 is held by pid "));
  });
  const auto holder = locks->holder("port-38001");
  ASSERT_TRUE(holder);
  EXPECT_THAT(describe(*holder), HasSubstr(us));
}

TEST(LockDirectory, LockEndsWithItsProcessAndItsFileStays) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  in_child([&] {
    const auto lock = locks->lock("gpu-1");
    EXPECT_TRUE(lock);
    EXPECT_TRUE(locks->is_locked("gpu-1"));
  });
  struct stat before{};
  ASSERT_EQ(::stat((folder / "gpu-1").c_str(), &before), 0);
  ASSERT_TRUE(locks->lock("gpu-1"));
  struct stat after{};
  ASSERT_EQ(::stat((folder / "gpu-1").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

// Custody: the keeper's copy holds the lock when the daemon is gone, and a new daemon takes it over from
// there.
TEST(LockFile, CopiesShareOneLockAndAdoptionNeedsThatCopy) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  auto daemon = locks->lock("gpu-1");
  ASSERT_TRUE(daemon);
  auto keeper = daemon->dup();
  ASSERT_TRUE(keeper);
  EXPECT_NE(::fcntl(keeper->get(), F_GETFD) & FD_CLOEXEC, 0);
  daemon->close();
  EXPECT_TRUE(locks->is_locked("gpu-1")) << "the keeper's copy does not hold it";
  EXPECT_FALSE(locks->lock("gpu-1"));
  auto wrong = open_file(folder / "gpu-1", O_RDWR);
  ASSERT_TRUE(wrong);
  EXPECT_FALSE(locks->adopt("gpu-1", std::move(*wrong))) << "another description has the lock";
  auto other = open_file(folder / "other", O_RDWR | O_CREAT, 0666);
  ASSERT_TRUE(other);
  EXPECT_FALSE(locks->adopt("gpu-1", std::move(*other))) << "another file";
  {
    const auto adopted = locks->adopt("gpu-1", std::move(*keeper));
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_TRUE(locks->is_locked("gpu-1"));
  }
  EXPECT_FALSE(locks->is_locked("gpu-1"));
}

TEST(LockDirectory, OfTwoProcessesExactlyOneGetsEachLock) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  constexpr int kLocks = 200;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::vector<pid_t> contenders;
  for (int who = 0; who < 2; ++who) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::vector<LockFile> held;
      const auto say = [&](int word) {
        if (::write(writer.get(), &word, sizeof word) != sizeof word) ::_exit(1);
      };
      for (int i = 0; i < kLocks; ++i) {
        auto lock = locks->lock("gpu-" + std::to_string(i));
        if (!lock) continue;
        held.push_back(std::move(*lock));
        say(i);
      }
      say(-1);
      for (;;) ::pause();  // holds them until the other has tried all
    }
    contenders.push_back(pid);
  }
  writer.reset();
  std::multiset<int> winners;
  int done = 0;
  for (int word = 0; done < 2 && ::read(reader.get(), &word, sizeof word) == sizeof word;) {
    if (word < 0) {
      ++done;
    } else {
      winners.insert(word);
    }
  }
  for (const pid_t pid : contenders) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  EXPECT_EQ(done, 2);
  EXPECT_EQ(winners.size(), std::size_t{kLocks}) << "a lock had two winners, or none";
  EXPECT_EQ(std::set<int>(winners.begin(), winners.end()).size(), std::size_t{kLocks});
}

TEST(LockDirectory, ListsWhatIsHeldAndByWhom) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  ASSERT_TRUE(locks->lock("port-1"));  // given back at once
  const auto one = locks->lock("gpu-1");
  const auto two = locks->lock("gpu-0");
  const auto held = locks->held();
  ASSERT_EQ(held.size(), 2U);
  EXPECT_EQ(held[0].first, "gpu-0");
  EXPECT_EQ(held[1].first, "gpu-1");
  ASSERT_TRUE(held[1].second);
  EXPECT_EQ(held[1].second->pid, ::getpid());
}

TEST(LockDirectory, LinksPipesAndBadNamesAreRefused) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  ASSERT_EQ(::symlink("/etc/passwd", (folder / "gpu-link").c_str()), 0);
  EXPECT_FALSE(locks->lock("gpu-link"));
  ASSERT_EQ(::mkfifo((folder / "gpu-pipe").c_str(), 0666), 0);
  EXPECT_FALSE(locks->lock("gpu-pipe"));
  for (const char* name : {"", "..", "a/b", ".hidden", "a b"}) EXPECT_FALSE(locks->lock(name)) << name;
}

TEST(LockDirectory, RemovedFileIsNotMistakenForTheLock) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  const auto first = locks->lock("gpu-1");
  ASSERT_TRUE(first);
  std::filesystem::remove(folder / "gpu-1");  // what nobody should do
  auto copy = first->dup();
  ASSERT_TRUE(copy);
  EXPECT_FALSE(locks->adopt("gpu-1", std::move(*copy)));
}

// fs.protected_regular: in a sticky folder of root, O_CREAT on another user's file fails even where opening
// it without O_CREAT works.
TEST(LockDirectory, AnotherUsersFileInAStickyFolderCanBeLocked) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to act as two users";
  const TempDir folder;
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  const auto locks = LockDirectory::open_shared(folder / "ebb");
  ASSERT_TRUE(locks);
  ASSERT_TRUE(locks->lock("gpu-1"));
  const auto as_user = [&](uid_t uid, const std::string& name) {
    in_child([&] {
      ASSERT_TRUE(::setgid(uid) == 0 && ::setuid(uid) == 0);
      const auto mine = LockDirectory::open_shared(folder / "ebb");
      ASSERT_TRUE(mine) << mine.error().message;
      const auto lock = mine->lock(name);
      EXPECT_TRUE(lock) << lock.error().message;
    });
  };
  as_user(65'534, "gpu-1");  // root's file
  as_user(65'534, "gpu-2");  // makes its own
  as_user(65'533, "gpu-2");  // another user's
  EXPECT_TRUE(locks->lock("gpu-2")) << "a user's file, by root";
}

TEST(LockDirectory, RootTakesOneThatAUserMadeFirst) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to act as two users";
  const TempDir folder;
  ASSERT_EQ(::mkdir((folder / "ebb").c_str(), 0755), 0);
  ASSERT_EQ(::chown((folder / "ebb").c_str(), 65'534, 65'534), 0);
  ASSERT_TRUE(LockDirectory::open_shared(folder / "ebb"));
  struct stat info{};
  ASSERT_EQ(::stat((folder / "ebb").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 0U);
  EXPECT_EQ(mode_of(folder / "ebb"), 01777U);
}

TEST(LockDirectory, OwnLocksOfAnotherUserAreNotWaitedFor) {
  const TempDir folder;
  const auto locks = LockDirectory::open_shared(folder.path());
  ASSERT_TRUE(locks);
  std::ofstream(folder / "open").put('\n');
  ASSERT_EQ(::chmod((folder / "open").c_str(), 0666), 0);
  const auto open = locks->wait_own("open");
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, Errc::forbidden);
  const auto own = locks->wait_own("own");
  ASSERT_TRUE(own);
  EXPECT_EQ(mode_of(folder / "own"), 0600U);
  EXPECT_FALSE(locks->lock_own("own"));
}

TEST(LockNames, AreSafeAsFileNames) {
  Gpu gpu;
  gpu.uuid = "MIG-GPU-1/2/0";
  EXPECT_EQ(gpu_lock_name(gpu), "gpu-MIG-GPU-1_2_0");
  EXPECT_EQ(port_lock_name(38'001), "port-38001");
}

}  // namespace
}  // namespace ebb::devices
