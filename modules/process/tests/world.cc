#include "world.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "ebb/base/unique_fd.h"

namespace ebb::process::testing {
namespace {

void expect_success(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "the child's checks failed; status " << status;
}

[[noreturn]] void leave() {
  std::fflush(nullptr);
  ::_exit(::testing::Test::HasFailure() ? 1 : 0);
}

bool put(const char* file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  return static_cast<bool>(out);
}

bool enter_user_namespace(int more) {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWUSER | more) != 0) return false;
  return put("/proc/self/setgroups", "deny") &&
         put("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1") &&
         put("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
}

bool unshare_as_root(int what) {
  return ::geteuid() == 0 ? ::unshare(what) == 0 : enter_user_namespace(what);
}

}  // namespace

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "ebb-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void in_child(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    body();
    leave();
  }
  expect_success(pid);
}

bool enter_mount_namespace() {
  return unshare_as_root(CLONE_NEWNS) && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool mount_tmpfs(const std::filesystem::path& folder, const std::string& size) {
  return ::mount("tmpfs", folder.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
}

void in_pid_namespace(const std::function<void()>& body) {
  in_child([&] {
    ASSERT_TRUE(unshare_as_root(CLONE_NEWNS | CLONE_NEWPID));
    std::fflush(nullptr);
    const pid_t init = ::fork();
    ASSERT_GE(init, 0);
    if (init == 0) {
      ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
      EXPECT_EQ(::mount("proc", "/proc", "proc", 0, nullptr), 0) << "cannot mount /proc";
      body();
      leave();
    }
    expect_success(init);
  });
}

Idle::Idle(const std::function<void()>& before) {
  int ready[2];
  EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ready[0]);
    if (before) before();
    ::close(ready[1]);
    for (;;) ::pause();
  }
  ::close(ready[1]);
  char byte = 0;
  while (::read(ready[0], &byte, 1) < 0 && errno == EINTR) {
  }
  ::close(ready[0]);
}

void Idle::end() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

Idle::~Idle() { end(); }

PassingCgroups::PassingCgroups(std::string path)
    : thread_([path = std::move(path)](const std::stop_token& stop) {
        constexpr int kGroups = 20;
        const auto name = [&](int i) { return path + "/passing-" + std::to_string(i); };
        while (!stop.stop_requested()) {
          for (int i = 0; i < kGroups; ++i) EXPECT_EQ(::mkdir(name(i).c_str(), 0755), 0) << name(i);
          for (int i = 0; i < kGroups; ++i) EXPECT_EQ(::rmdir(name(i).c_str()), 0) << name(i);
        }
      }) {}

}  // namespace ebb::process::testing
