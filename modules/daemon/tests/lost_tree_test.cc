#include "lost_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "ebb/process/orphans.h"
#include "ebb/process/proc.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

// As the attempt's, by the marks in its environment; whoever traces it keeps it from going when it is killed.
class LostTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/ebb-lost-tree-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto store = store::Store::open(folder_);
    ASSERT_TRUE(store.ok());
    context_ = std::make_unique<Context>(io_, default_config(::geteuid()), std::move(*store));
  }
  void TearDown() override {
    context_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  // Executed, so that /proc shows this environment: that of the attempt, or none, and the limit alone.
  pid_t marked(bool by_limit = false) const {
    const std::string job = "EBB_JOB_ID=" + attempt_.job.str();
    const std::string number = "EBB_ATTEMPT=" + std::to_string(attempt_.number);
    const rlimit limit{.rlim_cur = process::attempt_marks(attempt_).limit, .rlim_max = RLIM_INFINITY};
    int ready[2];
    EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setsid();
      ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // where only ancestors may
      if (by_limit) {
        ::setrlimit(RLIMIT_LOCKS, &limit);
        ::execle("/bin/sleep", "sleep", "1000", static_cast<char*>(nullptr),
                 std::array<char*, 1>{nullptr}.data());
      }
      ::execle("/bin/sleep", "sleep", "1000", static_cast<char*>(nullptr),
               std::array{job.c_str(), number.c_str(), static_cast<const char*>(nullptr)}.data());
      ::_exit(127);
    }
    ::close(ready[1]);
    char end = 0;
    EXPECT_EQ(::read(ready[0], &end, 1), 0);  // closed by the execution
    ::close(ready[0]);
    return pid;
  }
  template <typename Condition>
  void run_until(Condition condition) {
    const BootTime deadline = BootClock::now() + 20s;
    while (!condition() && BootClock::now() < deadline) io_.run_one_for(100ms);
    EXPECT_TRUE(condition());
  }

  // This process's own: a hunt goes through all processes, those of a test beside it too.
  const AttemptId attempt_{JobId(static_cast<std::uint32_t>(::getpid())), 1};
  std::filesystem::path folder_;
  boost::asio::io_context io_;
  std::unique_ptr<Context> context_;
  std::vector<std::pair<bool, std::string>> told_;
  LostTree::Done tell_ = [this](bool empty, std::string how) { told_.emplace_back(empty, std::move(how)); };
};

TEST_F(LostTreeTest, FindsItsProcessesByTheirMarksAndReapsThem) {
  const pid_t pid = marked();
  const LostTree tree(*context_, {.attempt = attempt_, .cgroup = {}, .init = {}}, 20s, tell_);
  run_until([&] { return !told_.empty(); });
  EXPECT_EQ(told_, (std::vector<std::pair<bool, std::string>>{{true, "no process has its marker"}}));
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), -1) << "it stays a zombie";
}

// As setproctitle leaves it, in a session of its own.
TEST_F(LostTreeTest, FindsWhatHasErasedItsEnvironmentByItsLimit) {
  const pid_t pid = marked(true);
  EXPECT_EQ(process::attempt_of_limits(*process::read_proc_file(pid, "limits")), attempt_);
  const LostTree tree(*context_, {.attempt = attempt_, .cgroup = {}, .init = {}}, 20s, tell_);
  run_until([&] { return !told_.empty(); });
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), -1) << "it lives, or stays a zombie";
}

// Nobody else waits for what outlives the daemon's own kill: its GPU would stay quarantined for ever.
TEST_F(LostTreeTest, TellsAgainWhenWhatOutlivedTheKillIsGone) {
  const pid_t pid = marked();
  int seized[2];
  ASSERT_EQ(::pipe2(seized, O_CLOEXEC), 0);
  const pid_t tracer = ::fork();
  if (tracer == 0) {
    const char result = ::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0 ? 'y' : 'n';
    (void)!::write(seized[1], &result, 1);
    for (;;) ::pause();
  }
  char result = 0;
  ASSERT_EQ(::read(seized[0], &result, 1), 1);
  ASSERT_EQ(result, 'y');
  const LostTree tree(*context_, {.attempt = attempt_, .cgroup = {}, .init = {}}, 30ms, tell_);
  run_until([&] { return !told_.empty(); });
  EXPECT_FALSE(told_.front().first) << told_.front().second;
  ::kill(tracer, SIGKILL);
  ::waitpid(tracer, nullptr, 0);
  run_until([&] { return told_.size() == 2; });
  EXPECT_TRUE(told_.back().first);
  ::close(seized[0]);
  ::close(seized[1]);
}

}  // namespace
}  // namespace ebb::daemon
