#include "ebb/base/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>

namespace ebb {
namespace {

using ::testing::HasSubstr;

class Files : public ::testing::Test {
 protected:
  Files() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ebb-files-XXXXXX").string();
    dir_ = ::mkdtemp(pattern.data());
  }
  ~Files() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  static mode_t mode_of(const std::filesystem::path& path) {
    struct stat found{};
    EXPECT_EQ(::stat(path.c_str(), &found), 0) << path;
    return found.st_mode & 07777;
  }
  // Runs `body` in a child, since it changes the whole process.
  static void in_child(const std::function<void()>& body) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      body();
      ::_exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }

  std::filesystem::path dir_;
};

TEST_F(Files, AreOpenedCloseOnExecOrNamed) {
  const auto fd = open_file("/dev/null", O_RDONLY);
  ASSERT_TRUE(fd.ok());
  EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_THAT(open_file(dir_ / "none", O_RDONLY).error().message, HasSubstr((dir_ / "none").string()));
}

TEST_F(Files, AreReadWholeUpToALimit) {
  for (const std::size_t size : {0u, 1u, 16383u, 16384u, 16385u, 100'000u}) {
    const std::string data(size, 'x');
    std::ofstream(dir_ / "file") << data;
    EXPECT_EQ(*read_file(dir_ / "file"), data);
    EXPECT_EQ(*read_file(dir_ / "file", size), data) << "the limit itself is allowed";
    if (size > 0) {
      EXPECT_EQ(read_file(dir_ / "file", size - 1).error().code, Errc::too_large) << size;
    }
  }
  EXPECT_FALSE(read_file("/proc/self/stat")->empty()) << "its size reads 0";
  EXPECT_EQ(read_file("/dev/zero", 1000).error().code, Errc::too_large) << "it has no end";
  EXPECT_FALSE(read_file(dir_).ok());
}

TEST_F(Files, AreReplacedAtOnce) {
  const auto file = dir_ / "file";
  for (const bool durable : {false, true}) {
    ASSERT_TRUE(replace_file(file, "first", 0600, durable).ok());
    auto old = open_file(file, O_RDONLY);
    ASSERT_TRUE(replace_file(file, "second", 0640, durable).ok());
    EXPECT_EQ(*read_file(file), "second");
    EXPECT_EQ(mode_of(file), 0640u);
    char text[16] = "";
    EXPECT_EQ(::read(old->get(), text, sizeof text), 5) << "a reader keeps the old one";
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1) << "nothing else stays";
}

TEST_F(Files, AReplacedOneHasItsModeWhateverTheUmask) {
  in_child([&] {
    ::umask(077);
    EXPECT_TRUE(replace_file(dir_ / "file", "x", 0644).ok());
    EXPECT_EQ(mode_of(dir_ / "file"), 0644u);
  });
}

TEST_F(Files, AReplacedOneMayBeNamedWithoutAFolder) {
  in_child([&] {
    ASSERT_EQ(::chdir(dir_.c_str()), 0);
    const auto replaced = replace_file("file", "x", 0600, true);
    EXPECT_TRUE(replaced.ok()) << replaced.error().message;
  });
  EXPECT_EQ(*read_file(dir_ / "file"), "x");
}

TEST_F(Files, TheOldOneStaysWhereReplacingFails) {
  const auto file = dir_ / "file";
  ASSERT_TRUE(replace_file(file, "old", 0600).ok());
  in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const auto failed = replace_file(file, std::string(2000, 'n'), 0600);
    ASSERT_FALSE(failed.ok());
    EXPECT_THAT(failed.error().message, HasSubstr(file.string()));
  });
  EXPECT_EQ(*read_file(file), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1) << "no half file stays";
  std::filesystem::create_directory(dir_ / "folder");
  EXPECT_FALSE(replace_file(dir_ / "folder", "x", 0600).ok());
  EXPECT_FALSE(replace_file(dir_ / "none/file", "x", 0600).ok());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 2);
}

TEST_F(Files, AllIsWrittenThroughAPipe) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const UniqueFd out(pipe[0]);
  UniqueFd in(pipe[1]);
  const std::string data(1 << 20, 'x');  // more than a pipe holds: short writes
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(write_all(in.get(), data).ok() ? 0 : 1);
  in.reset();
  std::size_t got = 0;
  char buffer[65536];
  for (ssize_t part = 0; (part = ::read(out.get(), buffer, sizeof buffer)) > 0;)
    got += static_cast<std::size_t>(part);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(got, data.size());
  EXPECT_FALSE(write_all(-1, "x").ok());
}

TEST_F(Files, FoldersAreMadeWithTheirParents) {
  in_child([&] {
    ::umask(027);
    EXPECT_TRUE(make_directories(dir_ / "a/b/c", 0711).ok());
    EXPECT_EQ(mode_of(dir_ / "a/b/c"), 0711u) << "whatever the umask";
    EXPECT_EQ(mode_of(dir_ / "a/b"), 0755u);
  });
  ASSERT_EQ(::chmod((dir_ / "a").c_str(), 0700), 0);
  EXPECT_TRUE(make_directories(dir_ / "a", 0755).ok());
  EXPECT_EQ(mode_of(dir_ / "a"), 0700u) << "one that is there is left as it is";
}

TEST_F(Files, AFolderNamedWithASlashAtItsEndHasItsMode) {
  ASSERT_TRUE(make_directories((dir_ / "x/secret").string() + "/", 0700).ok());
  EXPECT_EQ(mode_of(dir_ / "x/secret"), 0700u);
}

TEST_F(Files, AFileInAFoldersPlaceIsNamed) {
  std::ofstream(dir_ / "file") << "x";
  std::filesystem::create_symlink("nowhere", dir_ / "dangling");
  for (const char* path : {"file", "file/below", "dangling", "dangling/below"}) {
    const auto failed = make_directories(dir_ / path, 0700);
    ASSERT_FALSE(failed.ok()) << path;
    EXPECT_THAT(failed.error().message, HasSubstr(dir_.string()));
  }
  EXPECT_FALSE(make_directories("", 0700).ok());
  // The kernel says ENOENT here although the parent is there.
  EXPECT_FALSE(make_directories("/proc/ebb/state", 0700).ok());
  EXPECT_FALSE(make_directories("/proc/ebb", 0700).ok());
  std::filesystem::create_directory(dir_ / "real");
  std::filesystem::create_directory_symlink("real", dir_ / "link");
  EXPECT_TRUE(make_directories(dir_ / "link", 0700).ok());
}

TEST_F(Files, AnOpenOneIsToldFromAnotherOfItsName) {
  const auto path = dir_ / "lock";
  std::ofstream(path) << "x";
  const auto open = open_file(path, O_RDONLY);
  ASSERT_TRUE(open.ok());
  EXPECT_TRUE(same_file(open->get(), path));
  std::filesystem::rename(path, dir_ / "moved");
  EXPECT_FALSE(same_file(open->get(), path));
  std::filesystem::create_symlink("moved", path);
  EXPECT_FALSE(same_file(open->get(), path)) << "a link is another file";
  std::filesystem::remove(path);
  std::ofstream(path) << "x";
  EXPECT_FALSE(same_file(open->get(), path));
}

}  // namespace
}  // namespace ebb
