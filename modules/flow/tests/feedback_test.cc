// Feedback edges: cycles that end when nothing is left inside, whatever their shape.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;

// Halves each number until it is 1.
TEST(Feedback, EndsWhenNothingIsLeftInside) {
  LocalEnvironment env("halve");
  auto again = env.from_future<int>("again");
  ebb::DataStream halved = env.from_collection(numbers(1000))
                               .filter([](const int& x) { return x > 0; })
                               .union_with(again)
                               .map([](int x) { return x / 2; });
  halved.filter([](const int& x) { return x > 1; }).fill_future(again);
  auto ones = halved.filter([](const int& x) { return x <= 1; }).collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(ones.get().size(), 999U);
  EXPECT_EQ(op(report, "again").in, op(report, "again").emitted);
}

TEST(Feedback, BranchesInParallelAndComesBackFromEach) {
  LocalEnvironment env("collatz");
  auto again = env.from_future<std::pair<int, int>>();  // where it began, where it is
  ebb::DataStream steps =
      env.from_collection(numbers(300))
          .filter([](const int& x) { return x >= 1; })
          .map([](int x) { return std::pair(x, x); })
          .union_with(again)
          .key_by([](const std::pair<int, int>& p) { return p.first; })
          .parallelism(3)
          .running_reduce([](std::pair<int, int>& held, const std::pair<int, int>& now) { held = now; });
  const auto rest = [](const std::pair<int, int>& p) { return p.second != 1; };
  steps.filter([=](const auto& p) { return rest(p) && p.second % 2 == 0; })
      .map([](std::pair<int, int> p) { return std::pair(p.first, p.second / 2); })
      .parallelism(2)
      .fill_future(again);
  steps.filter([=](const auto& p) { return rest(p) && p.second % 2 != 0; })
      .map([](std::pair<int, int> p) { return std::pair(p.first, 3 * p.second + 1); })
      .fill_future(again);
  auto ones = steps.filter([=](const auto& p) { return !rest(p); }).collect();
  run(env);
  std::set<int> found;
  for (const auto& [first, last] : ones.get()) EXPECT_TRUE(found.insert(first).second);
  EXPECT_EQ(found.size(), 299U);
}

TEST(Feedback, MayAmplifyFarBeyondWhatRingsHold) {
  LocalEnvironment env("tree");
  auto again = env.from_future<int>();
  ebb::DataStream nodes = env.from_collection({1}).union_with(again);
  nodes
      .flat_map<int>([](const int& x, auto& emit) {
        if (x < (1 << 16)) emit(2 * x), emit(2 * x + 1);
      })
      .fill_future(again);
  std::uint64_t count = 0;
  nodes.sink([&](int) { ++count; });
  run(env);
  EXPECT_EQ(count, (1U << 17) - 1);
}

TEST(Feedback, PastItsLimitFailsInsteadOfBlocking) {
  LocalEnvironment env("explosion");
  auto again = env.from_future<std::string>("again");
  env.from_collection(std::vector<std::string>{std::string(100, 'x')})
      .union_with(again)
      .flat_map<std::string>([](const std::string& x, auto& emit) { emit(x), emit(x), emit(x); })
      .name("triple")
      .fill_future(again);
  const PipelineReport failed = failure_of(env, {.autostop = true, .feedback_limit = 1_MiB});
  EXPECT_EQ(failed.failed_at, "triple");
  EXPECT_THAT(failed.error, HasSubstr("feedback_limit"));
}

// Finishing operators run in order once the cycle is over, and still feed what lies behind it.
TEST(Feedback, FinishesFromItsHeadToItsTail) {
  LocalEnvironment env("finish");
  auto again = env.from_future<int>();
  struct Sum {
    int sum = 0;
    void operator()(const int& x, Collector<int>& emit) {
      sum += x;
      if (x > 0) emit(x - 1);
    }
    void finish(Collector<int>& emit) { emit(-sum); }
  };
  ebb::DataStream down = env.from_collection({5, 3}).union_with(again).flat_map<int>(Sum{}).parallelism(1);
  down.filter([](const int& x) { return x > 0; }).fill_future(again);
  auto out = down.filter([](const int& x) { return x < 0; }).collect();
  run(env);
  EXPECT_EQ(out.get(), std::vector{-(15 + 6)});
}

TEST(Feedback, AFinishThatFeedsItsOwnCycleIsACountedError) {
  LocalEnvironment env("late");
  auto again = env.from_future<int>();
  struct Late {
    void operator()(const int&, Collector<int>&) {}
    void finish(Collector<int>& emit) { emit(1); }
  };
  ebb::DataStream down = env.from_collection({5, 3}).union_with(again).flat_map<int>(Late{}).name("late");
  down.fill_future(again);
  down.sink([](int) {});
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "late");
  EXPECT_THAT(failed.error, HasSubstr("finish()"));
}

TEST(Feedback, EndsThoughAConsumerInsideEndsEarly) {
  LocalEnvironment env("early");
  auto again = env.from_future<int>();
  ebb::DataStream round =
      env.from_collection(numbers(10'000)).union_with(again).take(5000).map([](int x) { return x + 1; });
  round.fill_future(again);
  std::uint64_t count = 0;
  round.sink([&](int) { ++count; });
  const PipelineReport report = run(env);
  EXPECT_EQ(count, 5000U);
}

TEST(Feedback, ThatNeverEndsByItselfIsEndedFromOutside) {
  for (const bool cancel : {false, true}) {
    LocalEnvironment env("for ever");
    auto again = env.from_future<int>();
    auto turns = std::make_shared<std::atomic<std::uint64_t>>(0);
    env.from_collection({1, 2, 3})
        .union_with(again)
        .map([turns](int x) {
          ++*turns;
          return x;
        })
        .fill_future(again);
    Pipeline pipeline = env.submit({.grace = 50ms});
    while (*turns < 1000) std::this_thread::yield();
    if (cancel) {
      pipeline.cancel();
    } else {
      pipeline.drain();  // what goes round never flows out, so that its grace runs out
    }
    EXPECT_EQ(pipeline.report().outcome, Outcome::cancelled);
    EXPECT_FALSE(pipeline.report().unbalanced) << pipeline.report();
  }
}

TEST(Feedback, OneCycleInAnotherEndsToo) {
  LocalEnvironment env("nested");
  auto outer = env.from_future<int>("outer");
  auto inner = env.from_future<int>("inner");
  ebb::DataStream in =
      env.from_collection(numbers(200)).union_with(outer, inner).map([](int x) { return x; });
  in.filter([](const int& x) { return x % 3 == 1; }).map([](int x) { return x - 1; }).fill_future(inner);
  in.filter([](const int& x) { return x % 3 == 2; })
      .map([](int x) { return x + 1; })
      .parallelism(2)
      .fill_future(outer);
  auto out = in.filter([](const int& x) { return x % 3 == 0; }).collect();
  run(env);
  EXPECT_EQ(out.get().size(), 200U);
}

TEST(Feedback, AFutureThatNothingFillsIsRefused) {
  LocalEnvironment env("unfilled");
  auto again = env.from_future<int>("again");
  env.from_collection({1}).union_with(again).sink([](int) {});
  const std::string refusal = refusal_of(env);
  EXPECT_THAT(refusal, HasSubstr("nothing fills the future 'again'"));
}

// Filled from before it only, it is a queue without an end.
TEST(Feedback, WithoutACycleEndsWithItsInput) {
  LocalEnvironment env("no cycle");
  auto later = env.from_future<int>();
  env.from_collection(numbers(100)).map([](int x) { return x; }).parallelism(3).fill_future(later);
  auto out = later.collect();
  run(env);
  EXPECT_EQ(sorted(out.get()), numbers(100));
}

}  // namespace
}  // namespace ebb
