#include "ebb/process/scratch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "ebb/base/files.h"
#include "world.h"

namespace ebb::process {
namespace {

using ::testing::HasSubstr;
using testing::in_child;
using testing::TempDir;

constexpr AttemptId kAttempt{JobId(0x7f3a91c2), 1};

TreeRemoval remove_whole(const std::filesystem::path& folder) {
  return remove_tree(folder, BootTime::max(), nullptr);
}

void touch(const std::filesystem::path& file) { std::ofstream(file) << "x"; }

mode_t mode_of(const std::filesystem::path& path) {
  struct stat found{};
  EXPECT_EQ(::stat(path.c_str(), &found), 0);
  return found.st_mode & 07777;
}

// What an ordinary user meets; root passes by every mode.
void as_user(const TempDir& dir, const std::function<void()>& body) {
  in_child([&] {
    if (::geteuid() == 0) {
      ASSERT_EQ(::chmod(dir.path().c_str(), 0777), 0);
      ASSERT_EQ(::setgid(65534), 0);
      ASSERT_EQ(::setuid(65534), 0);
    }
    body();
  });
}

TEST(ScratchBase, IsMadeOnceWithItsMode) {
  const TempDir dir;
  const mode_t old = ::umask(077);
  ASSERT_TRUE(prepare_scratch_base(dir / "a/base").ok());
  ::umask(old);
  EXPECT_EQ(mode_of(dir / "a/base"), 0711u);
  EXPECT_TRUE(prepare_scratch_base(dir / "a/base").ok());
}

TEST(ScratchBase, RefusesWhatAnotherCouldHavePutThere) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "real");
  std::filesystem::create_directory_symlink(dir / "real", dir / "link");
  touch(dir / "file");
  for (const char* name : {"link", "file"}) {
    const auto refused = prepare_scratch_base(dir / name);
    ASSERT_FALSE(refused.ok()) << name;
    EXPECT_EQ(refused.error().code, Errc::forbidden);
    EXPECT_THAT(refused.error().message, HasSubstr("scratch in [jobs]"));
  }
  ASSERT_EQ(::chmod((dir / "real").c_str(), 0777), 0);
  EXPECT_THAT(prepare_scratch_base(dir / "real").error().message, HasSubstr("chmod 711"));
  EXPECT_EQ(prepare_scratch_base("relative").error().code, Errc::invalid);
}

TEST(ScratchBase, RefusesAnotherUsersFolder) {
  const TempDir dir;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  std::filesystem::create_directory(dir / "theirs");
  ASSERT_EQ(::chown((dir / "theirs").c_str(), 65534, 65534), 0);
  const auto refused = prepare_scratch_base(dir / "theirs");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::forbidden);
  EXPECT_THAT(refused.error().message, HasSubstr("belongs to"));
}

TEST(Scratch, IsPrivateToTheJobsUser) {
  const TempDir dir;
  ASSERT_TRUE(prepare_scratch_base(dir / "base").ok());
  const bool root = ::geteuid() == 0;
  const auto made =
      make_scratch(dir / "base", kAttempt, root ? 65534 : ::geteuid(), root ? 65534 : ::getegid());
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->filename(), "7f3a91c2.1");
  EXPECT_EQ(mode_of(*made), 0700u);
  struct stat found{};
  ASSERT_EQ(::stat(made->c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, root ? 65534u : ::geteuid());
  EXPECT_EQ(make_scratch(dir / "base", kAttempt, 0, 0).error().code, Errc::conflict);
}

TEST(RemoveTree, WhatIsNotThereIsComplete) {
  const TempDir dir;
  EXPECT_TRUE(remove_whole(dir / "none").complete);
  EXPECT_TRUE(remove_whole(dir / "none/below").complete);
  EXPECT_FALSE(remove_whole("/").complete);
  EXPECT_FALSE(remove_whole("").complete);
  EXPECT_FALSE(remove_whole(dir.path() / ".").complete);
}

TEST(RemoveTree, RemovesFilesLinksPipesAndSocketsButFollowsNothing) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "outside/kept");
  touch(dir / "outside/kept/file");
  std::filesystem::create_directories(dir / "tree/a/b/c");
  touch(dir / "tree/a/b/file");
  touch(dir / "tree/a/\n weird \xff");
  std::filesystem::create_directory_symlink(dir / "outside", dir / "tree/a/link");
  std::filesystem::create_symlink("nowhere", dir / "tree/dangling");
  ASSERT_EQ(::mkfifo((dir / "tree/pipe").c_str(), 0600), 0);
  const auto removal = remove_whole(dir / "tree");
  EXPECT_TRUE(removal.complete);
  EXPECT_EQ(removal.removed, 9u);
  EXPECT_FALSE(std::filesystem::exists(dir / "tree"));
  EXPECT_TRUE(std::filesystem::exists(dir / "outside/kept/file"));
}

TEST(RemoveTree, ALinkInPlaceOfTheTreeGoesAlone) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "outside");
  touch(dir / "outside/file");
  std::filesystem::create_directory_symlink(dir / "outside", dir / "tree");
  EXPECT_TRUE(remove_whole(dir / "tree").complete);
  EXPECT_TRUE(std::filesystem::exists(dir / "outside/file"));
}

TEST(RemoveTree, OpensFoldersThatTheirOwnerHasClosed) {
  const TempDir dir;
  as_user(dir, [&] {
    for (const mode_t mode : {mode_t{0}, mode_t{0400}, mode_t{0500}, mode_t{0200}, mode_t{0100}}) {
      const auto folder = dir / ("tree/" + std::to_string(mode));
      std::filesystem::create_directories(folder / "below");
      touch(folder / "file");
      touch(folder / "below/file");
      ASSERT_EQ(::chmod((folder / "below").c_str(), mode), 0);
      ASSERT_EQ(::chmod(folder.c_str(), mode), 0);
    }
    const auto removal = remove_whole(dir / "tree");
    EXPECT_TRUE(removal.complete) << (removal.left.empty() ? "" : removal.left[0]);
    EXPECT_FALSE(std::filesystem::exists(dir / "tree"));
  });
}

TEST(RemoveTree, NamesWhatItMayNotRemoveAndRemovesTheRest) {
  const TempDir dir;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  std::filesystem::create_directories(dir / "tree/mine");
  std::filesystem::create_directories(dir / "tree/roots/deep");
  touch(dir / "tree/mine/file");
  touch(dir / "tree/roots/deep/file");
  ASSERT_EQ(::chown((dir / "tree").c_str(), 65534, 65534), 0);
  ASSERT_EQ(::chown((dir / "tree/mine").c_str(), 65534, 65534), 0);
  ASSERT_EQ(::chmod((dir / "tree/roots/deep").c_str(), 0755), 0);
  as_user(dir, [&] {
    const auto removal = remove_whole(dir / "tree");
    EXPECT_FALSE(removal.complete);
    EXPECT_FALSE(removal.stopped);
    ASSERT_EQ(removal.left.size(), 1u);
    EXPECT_THAT(removal.left[0], HasSubstr("/tree/roots/deep/file: Permission denied"));
    EXPECT_FALSE(std::filesystem::exists(dir / "tree/mine"));
  });
}

TEST(RemoveTree, NeverCrossesAMountNorABindMount) {
  const TempDir dir;
  in_child([&] {
    ASSERT_TRUE(testing::enter_mount_namespace());
    for (const char* name : {"tree/tmpfs", "tree/bind", "tree/plain", "outside"}) {
      std::filesystem::create_directories(dir / name);
    }
    touch(dir / "outside/file");
    ASSERT_TRUE(testing::mount_tmpfs(dir / "tree/tmpfs", "64k"));
    touch(dir / "tree/tmpfs/file");
    ASSERT_EQ(::mount((dir / "outside").c_str(), (dir / "tree/bind").c_str(), nullptr, MS_BIND, nullptr), 0);
    const auto removal = remove_whole(dir / "tree");
    EXPECT_FALSE(removal.complete);
    EXPECT_EQ(removal.left.size(), 2u);
    for (const std::string& left : removal.left) EXPECT_THAT(left, HasSubstr("something is mounted there"));
    EXPECT_TRUE(std::filesystem::exists(dir / "outside/file"));
    EXPECT_TRUE(std::filesystem::exists(dir / "tree/tmpfs/file"));
    EXPECT_FALSE(std::filesystem::exists(dir / "tree/plain"));
  });
}

TEST(RemoveTree, GoesDeeperThanAPathMayBeLong) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "tree");
  UniqueFd here(::open((dir / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string name(100, 'd');
  constexpr int kDepth = 300;
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(here.get(), name.c_str(), 0700), 0);
    here.reset(::openat(here.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(here);
  }
  here.reset();
  in_child([&] {
    const rlimit few{64, 64};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    const auto removal = remove_whole(dir / "tree");
    EXPECT_TRUE(removal.complete);
    EXPECT_EQ(removal.removed, kDepth + 1u);
  });
}

TEST(RemoveTree, ManyEntriesAndManyFullSubfolders) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "tree");
  for (int i = 0; i < 1200; ++i) {
    const auto folder = dir / ("tree/d" + std::to_string(i));
    std::filesystem::create_directory(folder);
    touch(folder / "file");
    touch(dir / ("tree/f" + std::to_string(i)));
  }
  const auto removal = remove_whole(dir / "tree");
  EXPECT_TRUE(removal.complete);
  EXPECT_EQ(removal.removed, 3601u);
}

TEST(RemoveTree, StopsWhenToldAndGoesOnWhenCalledAgain) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "tree");
  for (int i = 0; i < 2000; ++i) touch(dir / ("tree/f" + std::to_string(i)));
  const std::atomic<bool> stop = true;
  auto removal = remove_tree(dir / "tree", BootTime::max(), &stop);
  EXPECT_TRUE(removal.stopped);
  EXPECT_FALSE(removal.complete);
  removal = remove_tree(dir / "tree", BootClock::now(), nullptr);
  EXPECT_TRUE(removal.stopped);
  EXPECT_LT(removal.removed, 1000u) << "a deadline that has passed ends it within a step";
  EXPECT_TRUE(remove_whole(dir / "tree").complete);
}

TEST(RemoveTree, AWriterThatGoesOnIsNamedOrLosesBothAreBounded) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "tree");
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; !done; ++i) {
      std::error_code ignored;
      std::filesystem::create_directories(dir / ("tree/sub" + std::to_string(i % 7)), ignored);
      touch(dir / ("tree/sub" + std::to_string(i % 7)) / std::to_string(i % 100));
    }
  });
  const auto removal = remove_tree(dir / "tree", BootClock::now() + std::chrono::milliseconds(200), nullptr);
  done = true;
  writer.join();
  EXPECT_TRUE(removal.complete || removal.stopped || !removal.left.empty());
  EXPECT_TRUE(remove_whole(dir / "tree").complete);
}

}  // namespace
}  // namespace ebb::process
