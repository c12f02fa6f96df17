// Dead letters and side outputs: what operators give beside their output.
#include <gmock/gmock.h>

#include <memory>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;

int even_only(const int& x) {
  if (x % 2 != 0) throw std::runtime_error("odd: " + std::to_string(x));
  return x;
}

TEST(DeadLetters, HoldTheRecordTheErrorAndTheOperator) {
  LocalEnvironment env("dead letters");
  auto bad = env.dead_letters<int>("bad");
  auto good =
      env.from_collection(numbers(10)).map(even_only).name("halve").on_error(dead_letter(bad)).collect();
  auto letters = bad.collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(good.get(), (std::vector{0, 2, 4, 6, 8}));
  ASSERT_EQ(letters.get().size(), 5U);
  EXPECT_EQ(letters.get()[1].record, 3);
  EXPECT_EQ(letters.get()[1].error, "odd: 3");
  EXPECT_EQ(letters.get()[1].op, "halve");
  EXPECT_EQ(op(report, "halve").dead_lettered, 5U);
  EXPECT_EQ(op(report, "halve").processed, 5U);
  EXPECT_EQ(op(report, "bad").in, 5U);
}

TEST(DeadLetters, OfSeveralOperatorsInSeveralReplicasMeetInOneStream) {
  LocalEnvironment env("dead letters of many");
  auto bad = env.dead_letters<int>("bad");
  ebb::DataStream source = env.from_collection(numbers(1000));
  source.map(even_only).on_error(dead_letter(bad)).parallelism(3).sink([](int) {});
  source
      .filter([](const int& x) -> bool {
        if (x % 3 == 0) throw std::runtime_error("three");
        return true;
      })
      .on_error(dead_letter(bad))
      .sink([](int) {});
  source
      .key_by([](const int& x) -> int {
        if (x >= 990) throw std::runtime_error("no key");
        return x % 10;
      })
      .name("key")
      .on_error(dead_letter(bad))
      .parallelism(2)
      .reduce([](int a, int b) { return a + b; })
      .sink([](int) {});
  source.sink([](const int& x) { even_only(x); }).on_error(dead_letter(bad));
  auto letters = bad.collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(letters.get().size(), 500U + 334U + 10U + 500U);
  EXPECT_EQ(op(report, "key").dead_lettered, 10U);
}

TEST(DeadLetters, OfMoveOnlyRecordsAreThoseThemselves) {
  LocalEnvironment env("move-only");
  auto bad = env.dead_letters<std::unique_ptr<int>>("bad");
  env.from_source([n = 0]() mutable -> std::optional<std::unique_ptr<int>> {
       if (n == 4) return std::nullopt;
       return std::make_unique<int>(n++);
     })
      .map([](const std::unique_ptr<int>& x) { return even_only(*x); })
      .on_error(dead_letter(bad))
      .sink([](int) {});
  int sum = 0;
  bad.sink([&](const DeadLetter<std::unique_ptr<int>>& letter) { sum += *letter.record; });
  run(env);
  EXPECT_EQ(sum, 1 + 3);
}

TEST(DeadLetters, OfAFlatMapAndAFoldLeaveTheirStatesWhole) {
  LocalEnvironment env("fold");
  auto bad = env.dead_letters<int>("bad");
  auto sums = env.from_collection(numbers(10))
                  .key_by([](int) { return 0; })
                  .reduce(0, [](int sum, const int& x) { return sum + even_only(x); })
                  .on_error(dead_letter(bad))
                  .collect();
  auto letters = bad.collect();
  run(env);
  EXPECT_EQ(sums.get(), (std::vector{std::pair(0, 20)}));
  EXPECT_EQ(letters.get().size(), 5U);
}

TEST(DeadLetters, ThatNobodyReadsAreRefused) {
  LocalEnvironment env("nobody");
  auto bad = env.dead_letters<int>("bad");
  env.from_collection(numbers(3)).map(even_only).on_error(dead_letter(bad)).sink([](int) {});
  const std::string refusal = refusal_of(env);
  EXPECT_THAT(refusal, HasSubstr("nothing takes what 'bad' gives"));
}

TEST(DeadLetters, ThatEndEarlyDoNotEndWhatTheyComeFrom) {
  LocalEnvironment env("early");
  auto bad = env.dead_letters<int>("bad");
  int good = 0;
  env.from_collection(numbers(100'000))
      .sink([&](const int& x) { good += even_only(x) % 2 == 0; })
      .on_error(dead_letter(bad));
  auto letters = bad.take(3).collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(good, 50'000);
  EXPECT_EQ(letters.get().size(), 3U);
}

TEST(DeadLetters, ThatFeedThemselvesAreRefused) {
  LocalEnvironment env("circle");
  auto bad = env.dead_letters<int>("bad");
  env.from_collection(numbers(3)).map(even_only).on_error(dead_letter(bad)).sink([](int) {});
  bad.map([](const DeadLetter<int>& letter) { return letter.record; })
      .map(even_only)
      .name("again")
      .on_error(dead_letter(bad))
      .sink([](int) {});
  const std::string refusal = refusal_of(env);
  EXPECT_THAT(refusal, HasSubstr("'bad'"));
  EXPECT_THAT(refusal, HasSubstr("from_future"));
}

TEST(SideOutputs, AreGivenByAFunctionToAStreamOfAnotherType) {
  LocalEnvironment env("sides");
  ebb::DataStream parsed = env.from_collection(std::vector<std::string>{"1", "x", "3"})
                               .flat_map<int>([](const std::string& text, auto& emit, Context& c) {
                                 if (text == "x") return c.side_output("bad", "not a number: " + text);
                                 emit(std::stoi(text));
                               })
                               .name("parse");
  auto good = parsed.collect();
  auto bad = parsed.side_output<std::string>("bad").collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(good.get(), (std::vector{1, 3}));
  EXPECT_EQ(bad.get(), std::vector<std::string>{"not a number: x"});
  bool found = false;
  for (const EdgeReport& edge : report.edges) {
    found = found || (edge.from == "parse" && edge.to == "bad" && edge.sent == 1 && edge.received == 1);
  }
  EXPECT_TRUE(found) << report;
}

TEST(SideOutputs, ThatNobodyTakesFailWithTheirName) {
  LocalEnvironment env("nobody");
  env.from_collection(numbers(3))
      .map([](int x, Context& c) {
        c.side_output("odd", x);
        return x;
      })
      .name("split")
      .sink([](int) {});
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "split");
  EXPECT_THAT(failed.error, HasSubstr("side_output<U>(\"odd\")"));
}

}  // namespace
}  // namespace ebb
