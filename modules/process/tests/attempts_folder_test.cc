#include "ebb/process/attempts_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "ebb/process/keeper_lock.h"
#include "ebb/process/spawn.h"
#include "world.h"

namespace ebb::process {
namespace {

namespace fs = std::filesystem;
using testing::enter_mount_namespace;
using testing::in_child;
using testing::mount_tmpfs;
using testing::TempDir;

// Runs `body` with a state directory on the disk and a file system of memory beside it.
void with_memory(const std::function<void(const fs::path& state, const fs::path& memory)>& body) {
  const TempDir dir;
  in_child([&] {
    ASSERT_TRUE(enter_mount_namespace());
    const fs::path state = dir / "state";
    const fs::path memory = dir / "memory";
    fs::create_directory(state);
    fs::create_directory(memory);
    ASSERT_TRUE(mount_tmpfs(memory, "1m"));
    ASSERT_EQ(::chmod(memory.c_str(), 01777), 0);
    body(state, memory);
  });
}

fs::path prepare(const fs::path& state, const fs::path& memory, std::vector<std::string> begun = {}) {
  auto folder = prepare_attempts({.state_dir = state, .places = {memory}, .begun = [&] { return begun; }});
  EXPECT_TRUE(folder.ok()) << (folder.ok() ? "" : folder.error().message);
  return folder.ok() ? *folder : fs::path();
}

TEST(AttemptsFolder, IsInMemoryClosedToOthersAndFoundAgain) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    const fs::path folder = prepare(state, memory);
    EXPECT_EQ(folder.parent_path(), memory);
    struct stat found{};
    ASSERT_EQ(::stat((state / "attempts").c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 07777, 0700u);
    fs::create_directory(folder / "7f3a91c2.1");
    EXPECT_EQ(prepare(state, memory), folder);
    EXPECT_TRUE(fs::exists(state / "attempts/7f3a91c2.1"));
  });
}

TEST(AttemptsFolder, GoesWhenNothingIsInIt) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    const fs::path folder = prepare(state, memory);
    fs::create_directory(folder / "7f3a91c2.1");
    give_back_attempts(state);
    EXPECT_EQ(prepare(state, memory), folder);
    fs::remove(folder / "7f3a91c2.1");
    give_back_attempts(state);
    EXPECT_TRUE(fs::is_empty(memory));
    EXPECT_TRUE(fs::is_empty(state));
  });
}

TEST(AttemptsFolder, IsPlainWithoutMemoryAndWhileAPlainOneIsInUse) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    const fs::path disk = state / "disk";
    fs::create_directory(disk);
    EXPECT_EQ(prepare(state, disk), state / "attempts");
    fs::create_directory(state / "attempts/7f3a91c2.1");
    EXPECT_EQ(prepare(state, memory), state / "attempts");
    fs::remove(state / "attempts/7f3a91c2.1");
    EXPECT_EQ(prepare(state, memory).parent_path(), memory);
    EXPECT_TRUE(fs::is_symlink(state / "attempts"));
  });
}

// An attempt whose folder was lost is one whose keeper is dead, not one that was never begun: a second start
// would run it twice.
TEST(AttemptsFolder, KnowsAfterALossWhatWasBegun) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    const fs::path lost = prepare(state, memory);
    fs::remove(lost);
    const fs::path folder = prepare(state, memory, {"7f3a91c2.1"});
    EXPECT_NE(folder, lost);
    const std::string attempt = (folder / "7f3a91c2.1").string();
    EXPECT_FALSE(keeper_lives(attempt));
    EXPECT_EQ(KeeperLink::connect(attempt).error().code, Errc::unavailable);
    EXPECT_EQ(prepare(state, memory), folder);
  });
}

TEST(AttemptsFolder, KnowsItAlsoWithoutMemory) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    fs::remove(prepare(state, memory));
    EXPECT_EQ(prepare(state, state, {"7f3a91c2.1"}), state / "attempts");
    EXPECT_FALSE(fs::is_symlink(state / "attempts"));
    EXPECT_EQ(KeeperLink::connect((state / "attempts/7f3a91c2.1").string()).error().code, Errc::unavailable);
  });
}

TEST(AttemptsFolder, TakesNothingThatOthersCouldHavePutThere) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    const fs::path folder = prepare(state, memory);
    ASSERT_EQ(::chmod(folder.c_str(), 0755), 0);
    const fs::path second = prepare(state, memory);
    EXPECT_NE(second, folder);
    fs::remove(second);
    fs::create_directory_symlink(folder, second);
    const fs::path third = prepare(state, memory);
    EXPECT_NE(third, second);
    EXPECT_FALSE(fs::is_symlink(third));
    if (::geteuid() != 0) return;
    ASSERT_EQ(::chown(third.c_str(), 65534, 65534), 0);
    EXPECT_NE(prepare(state, memory), third);
  });
}

TEST(AttemptsFolder, IsNotSharedByACopyOfTheStateDirectory) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    const fs::path folder = prepare(state, memory);
    const fs::path copy = state.parent_path() / "copy";
    fs::create_directory(copy);
    fs::copy_symlink(state / "attempts", copy / "attempts");
    EXPECT_NE(prepare(copy, memory), folder);
    EXPECT_EQ(prepare(state, memory), folder);
  });
}

TEST(AttemptsFolder, AFolderThatOthersMayChangeIsPassedOver) {
  with_memory([](const fs::path& state, const fs::path& memory) {
    ASSERT_EQ(::chmod(memory.c_str(), 0777), 0);
    EXPECT_EQ(prepare(state, memory), state / "attempts");
  });
}

}  // namespace
}  // namespace ebb::process
