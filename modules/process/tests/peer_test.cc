#include "ebb/process/peer.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "world.h"

namespace ebb::process {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Idle;
using testing::in_child;
using testing::TempDir;

// A submitter: a process that has connected to us and then became another program, with this environment.
class Submitter {
 public:
  explicit Submitter(const std::function<void()>& before = {},
                     std::vector<std::string> environment = {"A=1"}) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = dir_ / "socket";
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener.get(), where, sizeof address), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::chmod(dir_.path().c_str(), 0777), 0);
    EXPECT_EQ(::chmod(path.c_str(), 0777), 0);
    idle_.emplace([&] {
      if (before) before();
      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);  // stays open in the new program
      EXPECT_EQ(::connect(fd, where, sizeof address), 0);
      std::vector<char*> words;
      for (std::string& word : environment) words.push_back(word.data());
      words.push_back(nullptr);
      char name[] = "sleep", time[] = "1000";
      char* argv[] = {name, time, nullptr};
      ::execve("/bin/sleep", argv, words.data());
      ::perror("execve");
      ::_exit(1);
    });
    connection_.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  [[nodiscard]] int socket() const { return connection_.get(); }
  [[nodiscard]] pid_t pid() const { return idle_->pid(); }
  void end() { idle_->end(); }

 private:
  TempDir dir_;
  std::optional<Idle> idle_;
  UniqueFd connection_;
};

Result<SubmitterContext> context_of(const Submitter& submitter) {
  auto peer = peer_credentials(submitter.socket());
  if (!peer) return std::move(peer).error();
  return submitter_context(*peer);
}

TEST(Peer, IsWhoConnected) {
  Submitter submitter;
  const auto peer = peer_credentials(submitter.socket());
  ASSERT_TRUE(peer.ok()) << peer.error().message;
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_EQ(peer->gid, ::getegid());
  EXPECT_EQ(peer->pid, submitter.pid());
  ASSERT_TRUE(peer->pidfd);
  pollfd ended{peer->pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 0);
  submitter.end();
  EXPECT_EQ(::poll(&ended, 1, 0), 1);
  EXPECT_EQ(submitter_context(*peer).error().code, Errc::unavailable);
}

TEST(Peer, HasItsOwnUserAndGroups) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const Submitter submitter([] {
    const gid_t groups[] = {4001, 4002};
    EXPECT_EQ(::setgroups(2, groups), 0);
    EXPECT_EQ(::setgid(4000), 0);
    EXPECT_EQ(::setuid(65534), 0);
  });
  const auto peer = peer_credentials(submitter.socket());
  ASSERT_TRUE(peer.ok());
  EXPECT_EQ(peer->uid, 65534u);
  EXPECT_EQ(peer->gid, 4000u);
  EXPECT_THAT(peer->groups, ElementsAre(4001, 4002));
}

TEST(Peer, MoreGroupsThanUsual) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can set groups";
  const Submitter submitter([] {
    std::vector<gid_t> groups;
    for (gid_t i = 0; i < 1000; ++i) groups.push_back(10'000 + i);
    EXPECT_EQ(::setgroups(groups.size(), groups.data()), 0);
  });
  EXPECT_EQ(peer_credentials(submitter.socket())->groups.size(), 1000u);
}

TEST(Peer, OnlyAUnixSocketHasOne) {
  const UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(peer_credentials(tcp.get()).error().code, Errc::invalid);
  EXPECT_FALSE(peer_credentials(-1).ok());
  const UniqueFd unconnected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_FALSE(peer_credentials(unconnected.get()).ok());
}

TEST(Submitter, PassesOnAllThatAJobInherits) {
  const TempDir dir;
  const auto folder = dir / "a folder";
  std::filesystem::create_directory(folder);
  const Submitter submitter(
      [&] {
        EXPECT_EQ(::chdir(folder.c_str()), 0);
        ::umask(027);
        EXPECT_EQ(::setpriority(PRIO_PROCESS, 0, 5), 0);
        const rlimit files{77, 99};
        EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
      },
      {"PATH=/bin", "EMPTY=", "EQUALS=a=b=", "LINES=a\nb", "noname", "=odd", "TWICE=1", "TWICE=2"});
  const auto context = context_of(submitter);
  ASSERT_TRUE(context.ok()) << context.error().message;
  EXPECT_THAT(context->environment,
              ElementsAre("PATH=/bin", "EMPTY=", "EQUALS=a=b=", "LINES=a\nb", "TWICE=1", "TWICE=2"));
  EXPECT_EQ(context->workdir, std::filesystem::canonical(folder));
  EXPECT_EQ(context->umask, 027u);
  EXPECT_EQ(context->nice, 5);
  const auto files = std::find_if(context->limits.begin(), context->limits.end(),
                                  [](const ProcLimit& limit) { return limit.resource == RLIMIT_NOFILE; });
  ASSERT_NE(files, context->limits.end());
  EXPECT_EQ(files->soft, 77u);
}

TEST(Submitter, ADeletedWorkingDirectoryIsNamed) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "gone");
  const Submitter submitter([&] { EXPECT_EQ(::chdir((dir / "gone").c_str()), 0); });
  std::filesystem::remove(dir / "gone");
  const auto context = context_of(submitter);
  ASSERT_FALSE(context.ok());
  EXPECT_EQ(context.error().code, Errc::invalid);
  EXPECT_THAT(context.error().message, HasSubstr("gone"));
  EXPECT_THAT(context.error().message, HasSubstr("--workdir"));
}

TEST(Submitter, AWorkingDirectoryThatMeansAnotherFolderHereIsRefused) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "here");
  const Submitter submitter([&] {
    EXPECT_TRUE(testing::enter_mount_namespace());
    EXPECT_TRUE(testing::mount_tmpfs(dir / "here", "64k"));
    EXPECT_EQ(::chdir((dir / "here").c_str()), 0);
  });
  EXPECT_EQ(context_of(submitter).error().code, Errc::invalid);
}

TEST(Submitter, AnEnvironmentOverTheLimitIsRefusedWithAWayOut) {
  const auto raise_stack = [] {
    const rlimit stack{64 << 20, RLIM_INFINITY};  // execve allows a quarter of it, at most 6 MiB
    EXPECT_EQ(::setrlimit(RLIMIT_STACK, &stack), 0);
  };
  std::vector<std::string> environment;
  for (int i = 0; i < 50; ++i)
    environment.push_back("BIG" + std::to_string(i) + "=" + std::string(100'000, 'x'));
  {
    const Submitter submitter(raise_stack, environment);
    const auto context = context_of(submitter);
    ASSERT_FALSE(context.ok());
    EXPECT_EQ(context.error().code, Errc::too_large);
    EXPECT_THAT(context.error().message, HasSubstr("--clean-env"));
  }
  environment.resize(40);
  const Submitter submitter(raise_stack, environment);
  const auto context = context_of(submitter);
  ASSERT_TRUE(context.ok()) << context.error().message;
  EXPECT_EQ(context->environment, environment);
}

TEST(Submitter, TooManyVariablesAreRefused) {
  const auto raise_stack = [] {
    const rlimit stack{64 << 20, RLIM_INFINITY};
    EXPECT_EQ(::setrlimit(RLIMIT_STACK, &stack), 0);
  };
  const Submitter submitter(raise_stack, std::vector<std::string>(kMostVariables + 1, "A=1"));
  const auto context = context_of(submitter);
  ASSERT_FALSE(context.ok());
  EXPECT_EQ(context.error().code, Errc::too_large);
  EXPECT_THAT(context.error().message, HasSubstr("100001 variables"));
}

TEST(Submitter, OneThatIsClosedToUsIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be closed to another user";
  const Submitter submitter;
  in_child([&] {
    ASSERT_EQ(::setuid(65534), 0);
    const auto context = context_of(submitter);
    ASSERT_FALSE(context.ok());
    EXPECT_EQ(context.error().code, Errc::forbidden);
    EXPECT_THAT(context.error().message, HasSubstr(std::to_string(submitter.pid())));
  });
}

}  // namespace
}  // namespace ebb::process
