// The life of services as it can be seen while they run, whatever hangs or throws in it; and that many
// pipelines leave nothing behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;

enum class In { constructor, setup, start, call, stop, cleanup, destructor, none };

struct Gate {
  void pass() {
    entered.set_value();
    opened.get_future().wait();
  }
  std::promise<void> entered, opened;
};

// Waits, or throws, in one of its hooks.
struct Hooked {
  Hooked(In that, std::shared_ptr<Gate> until) : in(that), gate(std::move(until)) { at(In::constructor); }
  Hooked(const Hooked&) = delete;
  Hooked& operator=(const Hooked&) = delete;
  ~Hooked() {
    if (in == In::destructor && gate) gate->pass();
  }
  void setup() { at(In::setup); }
  void start() { at(In::start); }
  void call() { at(In::call); }
  void stop() { at(In::stop); }
  void cleanup() { at(In::cleanup); }
  void at(In here) {
    if (in != here) return;
    if (!gate) throw std::runtime_error("broken");
    gate->pass();
  }
  In in;
  std::shared_ptr<Gate> gate;
};

ServiceReport life(const Pipeline& pipeline) { return pipeline.report().services.at(0); }

TEST(ServiceLives, CanBeSeenWhileTheyRun) {
  LocalEnvironment env("seen");
  auto setup = std::make_shared<Gate>(), start = std::make_shared<Gate>();
  (void)env.register_service<Hooked>("in start", In::start, start);
  (void)env.register_service<Hooked>("in setup", In::setup, setup);
  env.from_collection(numbers(1)).sink([](int) {});
  Pipeline pipeline = env.submit();
  start->entered.get_future().wait();
  EXPECT_EQ(pipeline.status(), Pipeline::Status::starting);
  EXPECT_TRUE(life(pipeline).initialized);
  EXPECT_FALSE(life(pipeline).running);
  start->opened.set_value();
  setup->entered.get_future().wait();
  EXPECT_TRUE(life(pipeline).running);
  EXPECT_FALSE(pipeline.report().services[1].initialized);
  setup->opened.set_value();
  EXPECT_TRUE(pipeline.wait(20s));
  EXPECT_TRUE(pipeline.report().services[1].running);
  EXPECT_FALSE(life(pipeline).cleanup_called);
  pipeline.stop();
  EXPECT_FALSE(life(pipeline).running);
  EXPECT_TRUE(life(pipeline).cleanup_completed);
}

TEST(ServiceLives, AreOverWhenAHookThrows) {
  for (const In hook : {In::constructor, In::setup, In::start, In::stop, In::cleanup}) {
    LocalEnvironment env("throws");
    (void)env.register_service<Hooked>("good", In::none, std::shared_ptr<Gate>());
    (void)env.register_service<Hooked>("bad", hook, std::shared_ptr<Gate>());
    env.from_collection(numbers(1)).sink([](int) {});
    try {
      (void)env.submit({.autostop = true});
      ADD_FAILURE() << "it succeeded";
    } catch (const PipelineError& error) {
      EXPECT_THAT(error.report().error, HasSubstr("broken"));
      const std::vector<ServiceReport>& services = error.report().services;
      EXPECT_TRUE(services[0].cleanup_completed);
      EXPECT_FALSE(services[1].running);
      EXPECT_EQ(services[1].initialized, hook > In::setup);
      EXPECT_EQ(services[1].cleanup_called, hook > In::setup);
      EXPECT_EQ(services[1].cleanup_completed, hook == In::start || hook == In::stop);
      EXPECT_THAT(services[1].error, HasSubstr("broken"));
    }
  }
}

TEST(ServiceLives, ThatHangAtTheStartAreLeftBehindAfterACancel) {
  for (const In hook : {In::constructor, In::setup, In::start}) {
    LocalEnvironment env("hangs");
    auto gate = std::make_shared<Gate>();
    (void)env.register_service<Hooked>("hangs", hook, gate);
    env.from_collection(numbers(1)).sink([](int) {});
    Pipeline pipeline = env.submit({.watchdog = 10ms, .when_stuck = WhenStuck::abandon});
    gate->entered.get_future().wait();
    EXPECT_EQ(pipeline.status(), Pipeline::Status::starting);
    pipeline.cancel();
    EXPECT_FALSE(pipeline.report().ok);
    EXPECT_THAT(pipeline.report().error, HasSubstr("does not come back"));
    gate->opened.set_value();
  }
}

TEST(ServiceLives, ThatHangAtTheEndAreLeftBehindOrWaitedFor) {
  for (const In hook : {In::call, In::stop, In::cleanup, In::destructor}) {
    for (const WhenStuck policy : {WhenStuck::abandon, WhenStuck::wait}) {
      LocalEnvironment env("hangs");
      auto gate = std::make_shared<Gate>();
      auto hooked = env.register_service<Hooked>(service("hangs").cleanup_timeout(20ms), hook, gate);
      env.from_collection(numbers(1)).sink([=](int, Context& c) {
        (void)c.call_async(hooked, &Hooked::call);
      });
      Pipeline pipeline = env.submit({.watchdog = 10ms, .when_stuck = policy});
      EXPECT_TRUE(pipeline.wait(20s));
      auto ended = std::async(std::launch::async, [&] { pipeline.stop(); });
      gate->entered.get_future().wait();
      if (policy == WhenStuck::wait) {
        EXPECT_EQ(ended.wait_for(100ms), std::future_status::timeout);
        gate->opened.set_value();
        ended.get();
        EXPECT_EQ(life(pipeline).error, "");
        EXPECT_TRUE(life(pipeline).cleanup_completed);
      } else {
        ended.get();
        EXPECT_NE(life(pipeline).error, "");
        EXPECT_EQ(life(pipeline).cleanup_completed, hook == In::destructor);
        EXPECT_FALSE(pipeline.report().ok);
        gate->opened.set_value();
      }
    }
  }
}

TEST(ServiceLives, ThatHangEndTheProcessWhereThatIsAsked) {
  for (const In hook : {In::call, In::stop, In::cleanup}) {
    const pid_t child = ::fork();
    if (child == 0) {
      LocalEnvironment env("exits");
      auto gate = std::make_shared<Gate>();
      auto hooked = env.register_service<Hooked>(service("hangs").cleanup_timeout(20ms), hook, gate);
      env.from_collection(numbers(1)).sink([=](int, Context& c) {
        (void)c.call_async(hooked, &Hooked::call);
      });
      (void)env.submit({.autostop = true, .watchdog = 10ms, .when_stuck = WhenStuck::exit});
      ::_exit(1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 125);
  }
}

std::ptrdiff_t entries(const char* folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

std::size_t bytes_in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(ServiceLives, OfAThousandPipelinesLeaveNothingBehind) {
  const auto one = [] {
    LocalEnvironment env("one of many");
    auto adder = env.register_service<Hooked>("hooked", In::none, std::shared_ptr<Gate>());
    auto inner = env.register_pipeline_service<int, int>(
        "inner", [](LocalEnvironment&, auto requests) { return requests.map([](int x) { return x + 1; }); });
    env.from_collection(numbers(4))
        .map([=](int x, Context& c) {
          c.call(adder, within(20s), &Hooked::call);
          c.call_async(adder, &Hooked::call).get();
          return c.call(inner, x);
        })
        .parallelism(2)
        .key_by([](int x) { return x; })
        .reduce(0, [](int sum, int x) { return sum + x; })
        .sink([](const std::pair<int, int>&) {});
    stop_on_signals(env);
    run(env);
  };
  for (int i = 0; i < 20; ++i) one();
  const auto threads = entries("/proc/self/task"), descriptors = entries("/proc/self/fd");
  const std::size_t bytes = bytes_in_use();
  for (int i = 0; i < 1000; ++i) one();
  EXPECT_EQ(entries("/proc/self/task"), threads);
  EXPECT_EQ(entries("/proc/self/fd"), descriptors);
  // 100 bytes for each would be seen.
  EXPECT_LT(bytes_in_use(), bytes + 100'000);
}

}  // namespace
}  // namespace ebb
