// async_map: calls under way while further records are taken.
#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <future>
#include <memory>
#include <set>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;

struct Doubler {
  int twice(int x) {
    if (x == 13) throw std::runtime_error("unlucky");
    return 2 * x;
  }
};
std::vector<int> doubled(int count) {
  std::vector<int> all = numbers(count);
  for (int& x : all) x *= 2;
  return all;
}

TEST(AsyncMap, AwaitsCallsOfServicesInOrder) {
  LocalEnvironment env("calls");
  auto doubler = env.register_service<Doubler>(service("doubler").concurrency(4));
  auto out =
      env.from_collection(numbers(10))
          .async_map([=](const int& x, Context& c) { return c.call_async(doubler, &Doubler::twice, x); })
          .collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(out.get(), doubled(10));
  EXPECT_EQ(report.services[0].calls, 10U);
  EXPECT_EQ(op(report, "async_map").emitted, 10U);
}

// None of them returns before all four are under way.
TEST(AsyncMap, CallsAPlainFunctionSeveralTimesAtOnce) {
  LocalEnvironment env("plain");
  auto together = std::make_shared<std::barrier<>>(4);
  auto out = env.from_collection(numbers(40))
                 .async_map(
                     [together](const int& x) {
                       together->arrive_and_wait();
                       return 2 * x;
                     },
                     {.in_flight = 4})
                 .collect();
  run(env);
  EXPECT_EQ(out.get(), doubled(40));
}

// The first record's call returns only when the second one's result has come out.
TEST(AsyncMap, WithoutOrderGivesWhatComesFirst) {
  LocalEnvironment env("unordered");
  auto second = std::make_shared<std::atomic<bool>>(false);
  std::vector<int> out;
  env.from_collection({1, 2})
      .async_map(
          [second](const int& x) {
            while (x == 1 && !*second) std::this_thread::yield();
            return x;
          },
          {.ordered = false})
      .sink([&](int x) {
        out.push_back(x);
        if (x == 2) *second = true;
      });
  run(env);
  EXPECT_EQ(out, (std::vector{2, 1}));
}

TEST(AsyncMap, APolicyDealsWithWhatACallThrows) {
  LocalEnvironment env("policies");
  auto doubler = env.register_service<Doubler>("doubler");
  auto bad = env.dead_letters<int>("bad");
  ebb::DataStream source = env.from_collection(numbers(20));
  const auto call = [=](const int& x, Context& c) { return c.call_async(doubler, &Doubler::twice, x); };
  auto skipped = source.async_map(call).name("skips").on_error(skip).parallelism(2).collect();
  auto lettered = source.async_map(call).name("letters").on_error(dead_letter(bad)).collect();
  auto tries = std::make_shared<std::atomic<int>>(0);
  auto retried = source
                     .async_map([tries](const int& x) {
                       if (x == 13 && ++*tries < 3) throw std::runtime_error("again");
                       return 2 * x;
                     })
                     .on_error(retry(5, Duration::zero()))
                     .collect();
  auto letters = bad.collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(skipped.get().size(), 19U);
  EXPECT_EQ(op(report, "skips").skipped, 1U);
  EXPECT_EQ(op(report, "skips").processed, 19U);
  ASSERT_EQ(letters.get().size(), 1U);
  EXPECT_EQ(letters.get()[0].record, 13);
  EXPECT_EQ(letters.get()[0].error, "unlucky");
  EXPECT_EQ(retried.get(), doubled(20));
  EXPECT_EQ(*tries, 3);
}

TEST(AsyncMap, OnACancelNothingIsLeftRunning) {
  LocalEnvironment env("cancel");
  auto running = std::make_shared<std::atomic<int>>(0), begun = std::make_shared<std::atomic<int>>(0);
  auto release = std::make_shared<std::atomic<bool>>(false);
  env.from_collection(numbers(1000))
      .async_map([=](const int& x) {
        ++*running, ++*begun;
        while (!*release) std::this_thread::yield();
        --*running;
        return x;
      })
      .sink([](int) {});
  Pipeline pipeline = env.submit();
  while (*begun < 2) std::this_thread::yield();
  std::thread later([=] {
    std::this_thread::sleep_for(20ms);
    *release = true;
  });
  pipeline.cancel();
  EXPECT_EQ(*running, 0);
  EXPECT_FALSE(pipeline.report().unbalanced) << pipeline.report();
  later.join();
}

TEST(AsyncMap, AStopLetsWhatIsUnderWayFlowOut) {
  LocalEnvironment env("stop");
  auto given = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> out{0};
  env.from_source([given]() -> std::optional<int> { return (*given)++; })
      .async_map([](const int& x) {
        std::this_thread::yield();
        return x;
      })
      .sink([&](int) { ++out; });
  Pipeline pipeline = env.submit();
  while (out < 10) std::this_thread::yield();
  pipeline.stop();
  EXPECT_EQ(out, *given);
  EXPECT_EQ(pipeline.report().outcome, Outcome::stopped);
}

TEST(AsyncMap, InACycleHoldsItOpenUntilItsAnswersHaveCome) {
  LocalEnvironment env("cycle");
  auto doubler = env.register_service<Doubler>(service("doubler").concurrency(2));
  auto again = env.from_future<int>();
  ebb::DataStream out = env.from_collection({1, 3, 5}).union_with(again).async_map(
      [=](const int& x, Context& c) { return c.call_async(doubler, &Doubler::twice, x); });
  out.filter([](const int& x) { return x < 1000; }).fill_future(again);
  auto large = out.filter([](const int& x) { return x >= 1000; }).collect();
  run(env);
  EXPECT_EQ(sorted(large.get()), (std::vector{1024, 1280, 1536}));
}

TEST(AsyncMap, AwaitsOtherLibrariesFuturesOnThePool) {
  LocalEnvironment env("std::future");
  auto out =
      env.from_collection(numbers(5))
          .async_map([](const int& x) { return std::async(std::launch::async, [x] { return 2 * x; }); })
          .collect();
  run(env);
  EXPECT_EQ(out.get(), doubled(5));
}

TEST(AsyncMap, MoveOnlyRecordsAreLent) {
  LocalEnvironment env("move-only");
  auto out = env.from_source([n = 0]() mutable {
                  return n < 5 ? std::optional(std::make_unique<int>(n++)) : std::nullopt;
                })
                 .async_map([](const std::unique_ptr<int>& x) { return std::make_unique<int>(2 * *x); })
                 .map([](std::unique_ptr<int> x) { return *x; })
                 .collect();
  run(env);
  EXPECT_EQ(out.get(), doubled(5));
}

}  // namespace
}  // namespace ebb
