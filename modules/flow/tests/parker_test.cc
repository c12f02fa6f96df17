#include "ebb/flow/runtime/parker.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;

// Other programs, three for each core, that want all of its time.
class Crowd {
 public:
  Crowd() {
    for (unsigned i = 0; i < 3 * std::thread::hardware_concurrency(); ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::alarm(300);
        while (true) std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      programs_.push_back(child);
    }
  }
  ~Crowd() {
    for (const pid_t program : programs_) ::kill(program, SIGKILL);
    for (const pid_t program : programs_) ::waitpid(program, nullptr, 0);
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

 private:
  std::vector<pid_t> programs_;
};

// A thread that yields its core to one of them stands behind all of them until it has it again.
TEST(Parker, DoesNotYieldToOtherProgramsThatWantTheCores) {
  const Crowd crowd;
  LocalEnvironment env("crowded");
  std::uint64_t out = 0;
  env.from_source([n = 0]() mutable { return n < 300'000 ? std::optional(n++) : std::nullopt; })
      .key_by([](const int& x) { return x; })
      .process<int>(
          [](const int& x, Keyed<ValueState<int>>& state, auto& emit) {
            state->set(x);
            emit(x);
          },
          ValueState<int>().ttl(Duration::zero()))
      .sink([&](int) { ++out; });
  const BootTime begun = BootClock::now();
  run(env);
  EXPECT_EQ(out, 300'000u);
  EXPECT_LT(BootClock::now() - begun, 10s);  // it takes 0.3 s, and where its threads yield, a minute
}

}  // namespace
}  // namespace ebb
