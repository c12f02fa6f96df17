// Calls to services that do not run on their caller's thread: futures, limits, and what becomes of them at
// the end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Opened once, waited for by any number of threads.
struct Gate {
  void open() { promise.set_value(); }
  void pass() const { opened.wait(); }
  std::promise<void> promise;
  std::shared_future<void> opened = promise.get_future().share();
};

struct Worker {
  explicit Worker(std::shared_ptr<Gate> that = nullptr) : gate(std::move(that)) {}
  int twice(int x) { return 2 * x; }
  std::unique_ptr<int> boxed(std::unique_ptr<int> x) { return x; }
  int held(int x) {
    ++inside;
    gate->pass();
    return x;
  }
  void fails() { throw std::runtime_error("cannot"); }
  std::shared_ptr<Gate> gate;
  std::atomic<int> inside{0};
};

const ServiceReport& only_service(const PipelineReport& report) {
  EXPECT_EQ(report.services.size(), 1u);
  return report.services.front();
}

// A pipeline that is up until it is stopped, so that a test may call its services.
Pipeline up(LocalEnvironment& env, SubmitOptions options = {}) {
  env.from_collection(numbers(1)).sink([](int) {});
  Pipeline pipeline = env.submit(std::move(options));
  EXPECT_TRUE(pipeline.wait(20s));
  return pipeline;
}

template <typename Condition>
void await(Condition condition) {
  const BootTime deadline = BootClock::now() + 20s;
  while (!condition()) {
    ASSERT_LT(BootClock::now(), deadline);
    std::this_thread::yield();
  }
}

TEST(Futures, BringWhatTheMethodGivesOrThrows) {
  LocalEnvironment env("futures");
  auto worker = env.register_service<Worker>("worker");
  auto all = env.from_collection(numbers(3))
                 .map([=](int x, Context& c) {
                   auto number = c.call_async(worker, &Worker::twice, x);
                   auto box = c.call_async(worker, &Worker::boxed, std::make_unique<int>(x));
                   auto error = c.call_async(worker, &Worker::fails);
                   EXPECT_THROW(error.get(), std::runtime_error);
                   EXPECT_FALSE(error.valid());
                   EXPECT_THROW(error.get(), std::logic_error);
                   return number.get() + *box.get();
                 })
                 .collect();
  const PipelineReport report = run(env);
  EXPECT_THAT(all.get(), ElementsAre(0, 3, 6));
  EXPECT_EQ(only_service(report).calls, 9u);
  EXPECT_THROW((void)worker.call_async(&Worker::twice, 1), ServiceStopped);
}

TEST(Futures, SayOnceThatTheyAreReady) {
  LocalEnvironment env("ready");
  auto gate = std::make_shared<Gate>();
  auto worker = env.register_service<Worker>("worker", gate);
  Pipeline pipeline = up(env);
  auto future = worker.call_async(&Worker::held, 7);
  std::atomic<int> said{0};
  future.on_ready([&] { ++said; });
  EXPECT_FALSE(future.ready());
  EXPECT_FALSE(future.wait(1ms));
  EXPECT_EQ(said, 0);
  auto forgotten = std::make_unique<Future<int>>(worker.call_async(&Worker::twice, 7));
  forgotten->on_ready([&] { said += 100; });
  forgotten.reset();
  gate->open();
  EXPECT_TRUE(future.wait(20s));
  EXPECT_EQ(future.get(), 7);
  auto last = worker.call_async(&Worker::twice, 1);
  EXPECT_TRUE(last.wait(20s));
  last.on_ready([&] { said += 10; });
  EXPECT_EQ(said, 11);
}

struct Crowd {
  explicit Crowd(std::shared_ptr<std::atomic<int>> that) : most(std::move(that)) {}
  std::thread::id enter() {
    const int now = ++inside;
    int seen = most->load();
    while (now > seen && !most->compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --inside;
    return std::this_thread::get_id();
  }
  std::atomic<int> inside{0};
  std::shared_ptr<std::atomic<int>> most;
};

TEST(Futures, RunOnAFewThreadsAndInAFewSlots) {
  for (const int slots : {1, 3, 50}) {
    LocalEnvironment env("crowd");
    auto most = std::make_shared<std::atomic<int>>(0);
    auto crowd = env.register_service<Crowd>(service("crowd").concurrency(slots), most);
    Pipeline pipeline = up(env, {.call_threads = 4});
    std::vector<Future<std::thread::id>> calls;
    calls.reserve(2000);
    for (int i = 0; i < 2000; ++i) calls.push_back(crowd.call_async(&Crowd::enter));
    // Callers on their own threads get their turn among them.
    for (int i = 0; i < 100; ++i) EXPECT_EQ(crowd.call(&Crowd::enter), std::this_thread::get_id());
    std::set<std::thread::id> threads;
    for (auto& call : calls) threads.insert(call.get());
    EXPECT_LE(*most, slots);
    EXPECT_LE(threads.size(), 4u);
    pipeline.stop();
    EXPECT_EQ(only_service(pipeline.report()).calls, 2100u);
  }
}

struct Chained {
  explicit Chained(ServiceHandle<Worker> that) : worker(std::move(that)) {}
  int ask(int x) {
    return worker.call_async(&Worker::twice, x).get() + worker.call(within(20s), &Worker::twice, x);
  }
  ServiceHandle<Worker> worker;
};

TEST(Futures, WaitForEachOtherThoughThereIsOneThread) {
  LocalEnvironment env("chained");
  auto worker = env.register_service<Worker>("worker");
  auto chained = env.register_service<Chained>(service("chained").concurrency(8), worker);
  Pipeline pipeline = up(env, {.call_threads = 1});
  std::vector<Future<int>> calls;
  calls.reserve(100);
  for (int i = 0; i < 100; ++i) calls.push_back(chained.call_async(&Chained::ask, i));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(calls[static_cast<std::size_t>(i)].get(), 4 * i);
}

TEST(Futures, WakeWhenThePipelineIsCancelled) {
  LocalEnvironment env("cancel");
  auto gate = std::make_shared<Gate>();
  auto worker = env.register_service<Worker>("worker", gate);
  std::atomic<int> stopped{0}, asked{0};
  env.from_collection(numbers(4))
      .map([&, worker](int x, Context& c) {
        auto call = c.call_async(worker, &Worker::held, x);
        ++asked;
        try {
          return call.get();
        } catch (const ServiceStopped& error) {
          EXPECT_THAT(error.what(), HasSubstr("'worker'"));
          ++stopped;
          throw;
        }
      })
      .parallelism(4)
      .sink([](int) {});
  Pipeline pipeline = env.submit();
  await([&] { return asked == 4; });
  auto queued = worker.call_async(&Worker::twice, 1);
  std::atomic<int> told{0};
  queued.on_ready([&] { ++told; });
  auto ended = std::async(std::launch::async, [&] { pipeline.cancel(); });
  await([&] { return stopped == 4; });
  // Those without a slot never run; the one that has it is awaited.
  EXPECT_THROW(queued.get(), ServiceStopped);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(ended.wait_for(0s), std::future_status::timeout);
  gate->open();
  ended.get();
  EXPECT_EQ(pipeline.report().outcome, Outcome::cancelled);
  EXPECT_EQ(only_service(pipeline.report()).calls, 1u);
}

TEST(Futures, ThatNobodyKeepsAreAwaitedBeforeAnythingStops) {
  struct Slow {
    explicit Slow(std::shared_ptr<std::vector<std::string>> that) : said(std::move(that)) {}
    void work() {
      std::this_thread::yield();
      said->push_back("work");
    }
    void stop() { said->push_back("stop"); }
    std::shared_ptr<std::vector<std::string>> said;
  };
  LocalEnvironment env("dropped");
  auto said = std::make_shared<std::vector<std::string>>();
  auto slow = env.register_service<Slow>("slow", said);
  struct Last {
    explicit Last(std::shared_ptr<std::vector<std::string>> that) : said(std::move(that)) {}
    void stop() { seen = said->size(); }
    void cleanup() { EXPECT_EQ(seen, 50u); }
    std::shared_ptr<std::vector<std::string>> said;
    std::size_t seen = 0;
  };
  (void)env.register_service<Last>("last", said);
  env.from_collection(numbers(50)).sink([=](int, Context& c) { (void)c.call_async(slow, &Slow::work); });
  run(env);
  ASSERT_EQ(said->size(), 51u);
  EXPECT_EQ(said->back(), "stop");
}

TEST(Futures, AreRefusedWhereVeryManyWait) {
  LocalEnvironment env("many");
  auto gate = std::make_shared<Gate>();
  auto worker = env.register_service<Worker>("worker", gate);
  Pipeline pipeline = up(env);
  auto first = worker.call_async(&Worker::held, 1);
  for (int i = 0; i < 100'000; ++i) (void)worker.call_async(&Worker::twice, i);
  EXPECT_THROW((void)worker.call_async(&Worker::twice, 1), std::length_error);
  gate->open();
  EXPECT_EQ(first.get(), 1);
  pipeline.stop();
  EXPECT_EQ(only_service(pipeline.report()).calls, 100'001u);
}

TEST(Limits, EndACallThatDoesNotReturnAndFreeItsSlotWhenItDoes) {
  LocalEnvironment env("limit");
  auto gate = std::make_shared<Gate>();
  auto worker = env.register_service<Worker>("worker", gate);
  Pipeline pipeline = up(env);
  EXPECT_EQ(worker.call(within(20s), &Worker::twice, 4), 8);
  try {
    worker.call(within(5ms), &Worker::held, 1);
    FAIL() << "it returned";
  } catch (const ServiceTimeout& error) {
    EXPECT_STREQ(error.what(), "service 'worker' did not answer in time");
  }
  // The slot is still taken; a call that waits for it in vain never runs.
  try {
    worker.call(within(5ms), &Worker::twice, 1);
    FAIL() << "it found a slot";
  } catch (const ServiceTimeout& error) {
    EXPECT_STREQ(error.what(), "service 'worker' had no free slot in time");
  }
  EXPECT_EQ(only_service(pipeline.report()).calls, 2u);
  gate->open();
  EXPECT_EQ(worker.call(&Worker::twice, 3), 6);
  pipeline.stop();
  EXPECT_EQ(only_service(pipeline.report()).calls, 3u);
  EXPECT_EQ(only_service(pipeline.report()).timeouts, 2u);
}

TEST(Limits, OfTheWaitForASlotDoNotEndACallThatHasOne) {
  LocalEnvironment env("slot");
  auto gate = std::make_shared<Gate>();
  auto worker = env.register_service<Worker>(service("worker").timeout(5ms), gate);
  Pipeline pipeline = up(env);
  auto first = worker.call_async(&Worker::held, 1);
  EXPECT_THROW(worker.call_async(&Worker::twice, 1).get(), ServiceTimeout);
  EXPECT_THROW(worker.call(&Worker::twice, 1), ServiceTimeout);
  EXPECT_FALSE(first.ready());
  gate->open();
  EXPECT_EQ(first.get(), 1);
  EXPECT_EQ(only_service(pipeline.report()).timeouts, 2u);
}

// Calls its own service from a thread of its own until it is stopped, and once more then.
struct Batcher {
  explicit Batcher(ServiceHandle<Worker> that, std::shared_ptr<std::atomic<int>> sum)
      : worker(std::move(that)), calls(std::move(sum)) {}
  void start() {
    thread = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) *calls += worker.call(&Worker::twice, 1) / 2;
    });
  }
  void stop() {
    thread.request_stop();
    thread.join();
    *calls = worker.call(&Worker::twice, 21) + worker.call(within(20s), &Worker::twice, 0);
  }
  ServiceHandle<Worker> worker;
  std::shared_ptr<std::atomic<int>> calls;
  std::jthread thread;
};

TEST(Calls, BetweenServicesArePossibleUntilTheOneThatIsCalledStops) {
  LocalEnvironment env("inside");
  auto calls = std::make_shared<std::atomic<int>>(0);
  auto worker = env.register_service<Worker>("worker");
  (void)env.register_service<Batcher>("batcher", worker, calls);
  env.from_collection(numbers(100)).sink([](int) {});
  const PipelineReport report = run(env);
  EXPECT_EQ(*calls, 42);
  EXPECT_THROW((void)worker.call(&Worker::twice, 1), ServiceStopped);
  EXPECT_THROW((void)worker.for_service().call(&Worker::twice, 1), ServiceStopped);
}

struct AsksFromOutside {
  explicit AsksFromOutside(std::function<void()> that) : ask(std::move(that)) {}
  void stop() { std::async(std::launch::async, ask).get(); }
  std::function<void()> ask;
};

TEST(Calls, FromOutsideAreRefusedBeforeTheFirstServiceStops) {
  LocalEnvironment env("outside");
  auto worker = env.register_service<Worker>("worker");
  bool refused = false;
  (void)env.register_service<AsksFromOutside>("last", std::function<void()>([&refused, worker] {
                                                try {
                                                  (void)worker.call(&Worker::twice, 1);
                                                } catch (const ServiceStopped&) {
                                                  refused = true;
                                                }
                                              }));
  env.from_collection(numbers(1)).sink([](int) {});
  run(env);
  EXPECT_TRUE(refused);
}

TEST(Calls, ThatDoNotReturnAreNamedAndLeftBehind) {
  auto gate = std::make_shared<Gate>();
  LocalEnvironment env("stuck");
  auto worker = env.register_service<Worker>(service("worker").cleanup_timeout(20ms), gate);
  env.from_collection(numbers(1)).sink([=](int, Context& c) {
    (void)c.call_async(worker, &Worker::held, 1);
  });
  const PipelineReport failed = failure_of(env, {.autostop = true, .when_stuck = WhenStuck::abandon});
  EXPECT_THAT(failed.error, HasSubstr("service 'worker': a call is still in it"));
  EXPECT_FALSE(only_service(failed).cleanup_called);
  EXPECT_TRUE(only_service(failed).running);
  gate->open();
}

}  // namespace
}  // namespace ebb
