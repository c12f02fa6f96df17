#include "ebb/flow/signals.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;

// A child that writes what has become of it.
class Child {
 public:
  explicit Child(const std::function<void(int out)>& body) {
    int pipe[2];
    EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(pipe[0]);
      body(pipe[1]);
      ::_exit(0);
    }
    if (pid_ < 0)
      throw std::system_error(errno, std::generic_category(), "fork");  // -1 would be all processes
    ::close(pipe[1]);
    in_ = pipe[0];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { ::close(in_); }

  // The next word that it writes; empty at its end.
  std::string word() const {
    std::string word;
    char byte = 0;
    while (::read(in_, &byte, 1) == 1 && byte != '\n') word += byte;
    return word;
  }
  void signal(int number) const { EXPECT_EQ(::kill(pid_, number), 0); }
  // Sent until it has ended: one that comes before another of its kind was delivered is the same.
  int status_after(int number) const {
    const BootTime deadline = BootClock::now() + 20s;
    int status = -1;
    while (::waitpid(pid_, &status, WNOHANG) == 0 && BootClock::now() < deadline) {
      signal(number);
      std::this_thread::yield();
    }
    return status;
  }
  int status() const {
    int status = -1;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    return status;
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1;
};

void say(int out, const std::string& word) {
  const std::string line = word + "\n";
  if (::write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size())) ::_exit(99);
}

auto waits(int out) {
  return [out, told = false](const std::stop_token& stop) mutable -> std::optional<int> {
    if (!told) say(out, "runs");
    told = true;
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, stop, [] { return false; });
    return std::nullopt;
  };
}

struct Tells {
  explicit Tells(int to) : out(to) {}
  void cleanup() const { say(out, "cleaned"); }
  int out;
};

TEST(Signals, StopThePipelineWhichIsNoError) {
  for (const int number : {SIGINT, SIGTERM}) {
    const Child child([](int out) {
      LocalEnvironment env("signalled");
      stop_on_signals(env);
      (void)env.register_service<Tells>("tells", out);
      env.from_source(waits(out)).sink([](int) {});
      const PipelineReport report = env.submit({.autostop = true});
      say(out, to_string(report.outcome));
    });
    EXPECT_EQ(child.word(), "runs");
    child.signal(number);
    EXPECT_EQ(child.word(), "cleaned");
    EXPECT_EQ(child.word(), "stopped");
    EXPECT_EQ(child.status(), 0);
  }
}

// On a thread of its own, so that a stop lets what is in flight flow out, and only a cancel ends it.
void run_stuck(int out, bool hears) {
  LocalEnvironment env("stuck");
  stop_on_signals(env);
  env.from_source(waits(out)).sink([](int) {});
  env.from_collection(numbers(1)).map([](int x) { return x; }).parallelism(2).sink([=](int, Context& c) {
    say(out, "in");
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    if (hears) {
      never.wait(lock, c.stop_token(), [] { return false; });
    } else {
      never.wait(lock, [] { return false; });
    }
    say(out, "out");
  });
  const PipelineReport report = env.submit({.autostop = true});
  say(out, to_string(report.outcome));
}

TEST(Signals, TheSecondTimeCancelIt) {
  const Child child([](int out) {
    std::thread waiter([out] { run_stuck(out, true); });
    waiter.join();
  });
  std::set<std::string> first{child.word(), child.word()};
  EXPECT_EQ(first, (std::set<std::string>{"in", "runs"}));
  child.signal(SIGINT);
  child.signal(SIGTERM);
  EXPECT_EQ(child.word(), "out");
  EXPECT_EQ(child.word(), "cancelled");
  EXPECT_EQ(child.status(), 0);
}

TEST(Signals, TheThirdTimeEndTheProcess) {
  const Child child([](int out) { run_stuck(out, false); });
  (void)child.word();
  (void)child.word();
  const int status = child.status_after(SIGINT);
  EXPECT_EQ(child.word(), "");
  EXPECT_TRUE(WIFSIGNALED(status)) << status;
}

TEST(Signals, AreAsBeforeWhenTheEnvironmentIsGone) {
  const Child child([](int out) {
    static std::atomic<int> seen{0};
    struct sigaction mine = {};
    mine.sa_handler = [](int) { ++seen; };
    ::sigaction(SIGTERM, &mine, nullptr);
    ::signal(SIGINT, SIG_IGN);
    {
      LocalEnvironment env("first");
      LocalEnvironment other("second");
      stop_on_signals(env);
      stop_on_signals(other);
      stop_on_signals(other);
      ::raise(SIGINT);  // still ignored
      ::raise(SIGTERM);
      // It came before the start, and counts.
      env.from_source(waits(out)).sink([](int) {});
      const PipelineReport report = env.submit({.autostop = true});
      say(out, to_string(report.outcome));
    }
    ::raise(SIGTERM);
    say(out, std::to_string(seen.load()));
    struct sigaction now = {};
    ::sigaction(SIGINT, nullptr, &now);
    say(out, now.sa_handler == SIG_IGN ? "ignored" : "changed");
  });
  std::string word = child.word();
  if (word == "runs") word = child.word();  // it may have begun
  EXPECT_EQ(word, "stopped");
  EXPECT_EQ(child.word(), "1");
  EXPECT_EQ(child.word(), "ignored");
  EXPECT_EQ(child.status(), 0);
}

TEST(Signals, AreNotTouchedUnlessSomebodyAsks) {
  struct sigaction before = {}, now = {};
  ::sigaction(SIGINT, nullptr, &before);
  LocalEnvironment env("untouched");
  env.from_collection(numbers(1)).sink([](int) {});
  run(env);
  ::sigaction(SIGINT, nullptr, &now);
  EXPECT_EQ(now.sa_handler, before.sa_handler);
}

}  // namespace
}  // namespace ebb
