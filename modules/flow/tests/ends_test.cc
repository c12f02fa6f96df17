#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A source that gives `first` records and then waits until it is told to end, as one on a socket would.
auto waits_after(int first) {
  return [first, next = 0](const std::stop_token& stop) mutable -> std::optional<int> {
    if (next < first) return next++;
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, stop, [] { return false; });
    return std::nullopt;
  };
}

TEST(Ends, AnErrorInAFunctionFailsThePipelineAndIsNamed) {
  LocalEnvironment env("throws");
  env.from_collection(numbers(10'000))
      .map([](int x) {
        if (x == 5000) throw std::runtime_error("record 5000 is bad");
        return x;
      })
      .name("parse")
      .parallelism(2)
      .sink([](int) {});
  const PipelineReport report = failure_of(env);
  EXPECT_EQ(report.failed_at, "parse");
  EXPECT_EQ(report.error, "record 5000 is bad");
  EXPECT_EQ(op(report, "parse").failed, 1u);
  EXPECT_EQ(report.imbalance(), "");
}

TEST(Ends, NoRecordIsUncountedWhenOneOfThreeIsSkipped) {
  LocalEnvironment env("skip");
  auto all = env.from_collection(numbers(10))
                 .flat_map([](int x, auto&& emit) {
                   for (int i = 0; i < 3; ++i) emit(3 * x + i);
                 })
                 .map([](int x) {
                   if (x % 3 == 1) throw std::runtime_error("one of three");
                   return x;
                 })
                 .on_error(skip)
                 .name("picky")
                 .collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(all.get().size(), 20u);
  EXPECT_EQ(op(report, "picky").skipped, 10u);
  EXPECT_EQ(op(report, "picky").in, 30u);
}

TEST(Ends, ARetryCallsAgainWithTheSameRecord) {
  LocalEnvironment env("retry");
  int tries = 0;
  auto all = env.from_collection(std::vector<std::string>{"record"})
                 .map([&](std::string x) {
                   if (++tries < 3) throw std::runtime_error("not yet");
                   return x;
                 })
                 .on_error(retry(5, 1ms))
                 .collect();
  run(env);
  EXPECT_EQ(all.get(), std::vector<std::string>{"record"});
  EXPECT_EQ(tries, 3);
}

TEST(Ends, ASourceThatWaitsHoldsNothingBack) {
  LocalEnvironment env("waits");
  auto stream = env.from_source(waits_after(100));
  stream.sink([](int) {}).name("inline");
  stream.map([](int x) { return x; }).parallelism(2).name("other threads").sink([](int) {}).name("last");
  Pipeline pipeline = env.submit();
  await(pipeline, "inline", 100);
  await(pipeline, "last", 100);
  pipeline.stop();
}

TEST(Ends, TakeEndsASourceThatWaits) {
  LocalEnvironment env("take");
  auto all = env.from_source(waits_after(10)).map([](int x) { return x; }).parallelism(2).take(10).collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(all.get().size(), 10u);
  EXPECT_EQ(report.outcome, Outcome::completed);
}

TEST(Ends, TakeOfNothingAsksForNothing) {
  LocalEnvironment env("take none");
  auto all = env.from_source(waits_after(0)).take(0).collect();
  run(env);
  EXPECT_EQ(all.get().size(), 0u);
}

TEST(Ends, ASharedStreamThatNobodyEverWantsEnds) {
  LocalEnvironment env("unwanted");
  DataStream stream = env.from_source([next = 0]() mutable -> std::optional<int> { return next++; });
  auto none = stream.take(0).collect();
  run(env);
  EXPECT_EQ(none.get().size(), 0u);
}

// Throws when it is copied for the third time.
struct Fragile {
  explicit Fragile(int* count) : copies(count) {}
  Fragile(const Fragile& other) : copies(other.copies) {
    if (++*copies == 3) throw std::runtime_error("cannot be copied");
  }
  int* copies;
};

TEST(Ends, ARecordThatCannotBeCopiedFailsThePipeline) {
  LocalEnvironment env("fragile");
  int copies = 0;
  env.from_collection(numbers(10))
      .map([&](int) { return Fragile(&copies); })
      .name("gives")
      .map([](const Fragile&) { return 0; })
      .parallelism(2)
      .sink([](int) {});
  const PipelineReport report = failure_of(env);
  EXPECT_EQ(report.failed_at, "gives");
  EXPECT_EQ(report.error, "cannot be copied");
}

TEST(Ends, AFunctionCanSayThatItTakesNoMore) {
  LocalEnvironment env("finish");
  int count = 0;
  env.from_source(waits_after(1'000'000)).sink([&](int, Context& c) {
    if (++count == 5) c.finish();
  });
  const PipelineReport report = run(env);
  EXPECT_EQ(count, 5);
}

TEST(Ends, ACancelWakesWhatWaits) {
  LocalEnvironment env("cancel");
  // The second stage is blocked by the third, which waits in its source's stead for ever.
  env.from_source(waits_after(100)).map([](int x) { return x; }).parallelism(2).name("before").sink([](int) {
  });
  Pipeline pipeline = env.submit();
  await(pipeline, "before", 100);
  pipeline.cancel();
  EXPECT_EQ(pipeline.status(), Pipeline::Status::ended);
  const PipelineReport report = pipeline.report();
  EXPECT_EQ(report.outcome, Outcome::cancelled);
  EXPECT_EQ(report.imbalance(), "");
}

TEST(Ends, ADrainLetsOperatorsFinishAndAStopDoesNot) {
  for (const bool drains : {true, false}) {
    LocalEnvironment env("end");
    auto sums = env.from_source(waits_after(100))
                    .key_by([](int) { return 0; })
                    .name("key")
                    .reduce(0, [](int sum, int x) { return sum + x; })
                    .collect();
    Pipeline pipeline = env.submit();
    await(pipeline, "reduce", 100);
    drains ? pipeline.drain() : pipeline.stop();
    const PipelineReport report = pipeline.report();
    EXPECT_EQ(report.outcome, drains ? Outcome::drained : Outcome::stopped);
    EXPECT_TRUE(report.ok);
    std::vector<std::pair<int, int>> expected;
    if (drains) expected.emplace_back(0, 4950);
    EXPECT_EQ(sums.get(), expected);
  }
}

TEST(Ends, ADrainThatTakesTooLongBecomesACancel) {
  LocalEnvironment env("grace");
  std::atomic<bool> entered{false};
  // On a thread of its own: where it shares the source's, it is told to end with it.
  env.from_collection(numbers(3)).map([](int x) { return x; }).parallelism(2).sink([&](int, Context& c) {
    entered = true;
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, c.stop_token(), [] { return false; });
  });
  Pipeline pipeline = env.submit({.grace = 20ms});
  while (!entered) std::this_thread::yield();
  pipeline.drain();
  EXPECT_EQ(pipeline.report().outcome, Outcome::cancelled);
}

TEST(Ends, ADestroyedPipelineIsCancelled) {
  LocalEnvironment env("destroyed");
  env.from_source(waits_after(0)).sink([](int) {});
  {
    const Pipeline pipeline = env.submit();
  }
}

TEST(Ends, WhatIsStuckInUserCodeIsNamedAndLeftBehind) {
  auto let_go = std::make_shared<std::promise<void>>();
  auto entered = std::make_shared<std::promise<void>>();
  LocalEnvironment env("stuck");
  env.from_collection({1})
      .map([let_go, entered](int x) {
        entered->set_value();
        let_go->get_future().wait();
        return x;
      })
      .name("hangs")
      .sink([](int) {});
  Pipeline pipeline = env.submit({.cleanup_timeout = 20ms, .when_stuck = WhenStuck::abandon});
  entered->get_future().wait();
  pipeline.cancel();
  const PipelineReport report = pipeline.report();
  EXPECT_EQ(report.outcome, Outcome::failed);
  EXPECT_THAT(report.error, HasSubstr("operator 'hangs', which is in its function"));
  EXPECT_THROW((void)static_cast<PipelineReport>(pipeline), PipelineError);
  let_go->set_value();
}

TEST(Ends, AStreamThatEndsNowhereIsRefusedByItsName) {
  LocalEnvironment env("nowhere");
  DataStream stream = env.from_collection(numbers(3)).map([](int x) { return x; }).name("lonely");
  EXPECT_THAT([&] { (void)env.submit(); }, ThrowsMessage<std::logic_error>(HasSubstr("'lonely'")));
}

TEST(Ends, ASinkThatIsKeptByNameIsRefusedAndSaysSo) {
  LocalEnvironment env("kept");
  auto kept = env.from_collection(numbers(3)).sink([](int) {}).name("write");
  const std::string refusal = refusal_of(env);
  EXPECT_THAT(refusal, HasSubstr("the sink 'write' is still being built"));
}

TEST(Ends, ManyPipelinesLeaveNoThreadAndNoDescriptor) {
  const auto count = [](const char* folder) {
    return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
  };
  const auto one = [] {
    LocalEnvironment env("one of many");
    env.from_collection(numbers(10)).map([](int x) { return x; }).parallelism(2).sink([](int) {});
    run(env);
  };
  one();
  const auto threads = count("/proc/self/task"), descriptors = count("/proc/self/fd");
  for (int i = 0; i < 200; ++i) one();
  EXPECT_EQ(count("/proc/self/task"), threads);
  EXPECT_EQ(count("/proc/self/fd"), descriptors);
}

// What the system that this replaces got wrong; numbers as in docs/prior-defects.md.

TEST(PriorDataflow, Defect12ASourceThatThrowsEndsThePipeline) {
  LocalEnvironment env("source throws");
  env.from_source([]() -> std::optional<int> { throw std::runtime_error("no input"); }).sink([](int) {});
  const PipelineReport report = failure_of(env);
  EXPECT_EQ(report.failed_at, "source");
  EXPECT_EQ(report.error, "no input");
}

TEST(PriorDataflow, Defect13ABatchThatAlwaysThrowsIsNotTriedForEver) {
  LocalEnvironment env("batch throws");
  int calls = 0;
  env.from_batch([&]() -> std::optional<int> {
       ++calls;
       throw std::runtime_error("always");
     })
      .on_error(retry(3, 1ms))
      .sink([](int) {});
  EXPECT_EQ(failure_of(env).error, "always");
  EXPECT_EQ(calls, 4);
}

TEST(PriorDataflow, Defect14MoreThanTenStagesThatLiveLongStart) {
  LocalEnvironment env("many");
  for (int i = 0; i < 20; ++i)
    env.from_source(waits_after(1)).sink([](int) {}).name("sink " + std::to_string(i));
  Pipeline pipeline = env.submit();
  for (int i = 0; i < 20; ++i) await(pipeline, "sink " + std::to_string(i), 1);
  pipeline.stop();
  EXPECT_EQ(pipeline.report().outcome, Outcome::stopped);
}

TEST(PriorDataflow, Defect15APipelineWhoseEveryRecordFailsFails) {
  LocalEnvironment env("all fail");
  env.from_collection(numbers(10)).sink([](int) { throw std::runtime_error("no disk"); });
  EXPECT_EQ(failure_of(env).error, "no disk");
}

}  // namespace
}  // namespace ebb
