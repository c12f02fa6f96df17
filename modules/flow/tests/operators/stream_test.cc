#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAre;

TEST(Stream, CountsWhatEachOperatorDoes) {
  LocalEnvironment env("counts");
  auto squares = env.from_collection(numbers(10))
                     .map([](int x) { return x * x; })
                     .filter([](int x) { return x % 2 == 0; })
                     .name("even")
                     .collect();
  const PipelineReport report = run(env);
  EXPECT_THAT(squares.get(), ElementsAre(0, 4, 16, 36, 64));
  EXPECT_EQ(op(report, "source").emitted, 10u);
  EXPECT_EQ(op(report, "map").processed, 10u);
  EXPECT_EQ(op(report, "even").in, 10u);
  EXPECT_EQ(op(report, "even").filtered, 5u);
  EXPECT_EQ(op(report, "collect").in, 5u);
}

TEST(Stream, ThatIsUsedByNameGoesToAllWhoUseIt) {
  LocalEnvironment env("shared");
  auto stream = env.from_collection(numbers(3)).map([](int x) { return std::to_string(x); });
  auto left = stream.collect();
  auto right = stream.map([](const std::string& x) { return x + "!"; }).collect();
  run(env);
  EXPECT_THAT(left.get(), ElementsAre("0", "1", "2"));
  EXPECT_THAT(right.get(), ElementsAre("0!", "1!", "2!"));
}

// Not only as a DataStream, but whatever its type is.
TEST(Stream, UnderAnyNameHasEveryOperator) {
  LocalEnvironment env("auto");
  auto source = env.from_collection(numbers(6));
  auto keyed = source.key_by([](const int& x) { return x % 2; });
  const auto sum = [](int a, int b) { return a + b; };
  auto sums = keyed.reduce(sum).collect();
  auto folded = keyed.reduce(0, sum).collect();
  auto running = keyed.running_reduce(sum).collect();
  auto counted =
      keyed.process([](const int&, Keyed<int>& count, Collector<int>& emit) { emit(++*count); }).collect();
  auto joined = keyed.join_all(keyed, [](int a, int b) { return 10 * a + b; }).collect();
  auto turns = source.round_robin().parallelism(2).map([](int x) { return x; }).collect();
  auto copies = source.broadcast().parallelism(2).map([](int x) { return x; }).collect();
  run(env);
  EXPECT_EQ(sorted(sums.get()), (std::vector{0 + 2 + 4, 1 + 3 + 5}));
  EXPECT_EQ(folded.get().size(), 2U);
  EXPECT_EQ(sorted(running.get()), (std::vector{0, 1, 2, 4, 6, 9}));
  EXPECT_EQ(sorted(counted.get()), (std::vector{1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(joined.get().size(), 2U * 9);
  EXPECT_EQ(sorted(turns.get()), numbers(6));
  EXPECT_EQ(copies.get().size(), 12U);
}

TEST(Stream, WithANameCanBeBuiltOnInALoop) {
  LocalEnvironment env("loop");
  DataStream stream = env.from_collection(numbers(3)).map([](int x) { return x; });
  for (int i = 0; i < 3; ++i) stream = stream.map([](int x) { return x + 1; });
  auto all = stream.collect();
  run(env);
  EXPECT_THAT(all.get(), ElementsAre(3, 4, 5));
}

TEST(Stream, CarriesRecordsThatCanOnlyBeMoved) {
  LocalEnvironment env("move-only");
  std::vector<std::unique_ptr<int>> records;
  records.reserve(1000);
  for (int i = 0; i < 1000; ++i) records.push_back(std::make_unique<int>(i));
  int sum = 0;
  env.from_collection(std::move(records))
      .map([](std::unique_ptr<int> x) { return x; })
      .parallelism(3)
      .filter([](const std::unique_ptr<int>& x) { return *x % 2 == 0; })
      .sink([&](std::unique_ptr<int> x) { sum += *x; });
  run(env);
  EXPECT_EQ(sum, 499 * 500);
}

struct Nothing {};
struct alignas(256) Aligned {
  int value = 0;
};
using Large = std::array<char, 1 << 20>;

TEST(Stream, CarriesRecordsOfEverySize) {
  LocalEnvironment env("sizes");
  std::uint64_t nothings = 0, misaligned = 0, large = 0;
  env.from_collection(std::vector<Nothing>(1000))
      .map([](Nothing x) { return x; })
      .parallelism(2)
      .sink([&](Nothing) { ++nothings; });
  env.from_collection(numbers(1000))
      .map([](int x) { return Aligned{x}; })
      .parallelism(2)
      .sink(
          [&](const Aligned& x) { misaligned += reinterpret_cast<std::uintptr_t>(&x) % 256 != 0 ? 1U : 0U; });
  env.from_collection(numbers(20))
      .map([](int x) { return std::make_unique<Large>(Large{static_cast<char>(x)}); })
      .map([](std::unique_ptr<Large> x) { return Large(*x); })
      .parallelism(2)
      .sink([&](const Large& x) { large += static_cast<unsigned char>(x[0]); });
  run(env);
  EXPECT_EQ(nothings, 1000u);
  EXPECT_EQ(misaligned, 0u);
  EXPECT_EQ(large, 190u);
}

TEST(Stream, KeepsTheOrderOfEachKey) {
  LocalEnvironment env("order");
  std::map<int, int> last;
  int wrong = 0;
  env.from_collection(numbers(10'000))
      .key_by([](int x) { return x % 7; })
      .map([](int x) { return x; })
      .parallelism(3)
      .sink([&](int x) {
        const auto [at, first] = last.try_emplace(x % 7, x);
        wrong += !first && at->second > x ? 1 : 0;
        at->second = x;
      });
  run(env);
  EXPECT_EQ(wrong, 0);
}

TEST(Stream, FoldsEachKeysRecords) {
  LocalEnvironment env("reduce");
  auto sums = env.from_collection(numbers(100))
                  .key_by([](int x) { return x % 3; })
                  .parallelism(2)
                  .reduce(0, [](int sum, int x) { return sum + x; })
                  .collect();
  auto largest = env.from_collection(numbers(100))
                     .key_by([](int x) { return x % 3; })
                     .reduce([](int a, int b) { return std::max(a, b); })
                     .collect();
  auto running = env.from_collection(numbers(4))
                     .key_by([](int) { return 0; })
                     .running_reduce([](int a, int b) { return a + b; })
                     .collect();
  run(env);
  EXPECT_THAT(sums.get(), UnorderedElementsAre(std::pair(0, 1683), std::pair(1, 1617), std::pair(2, 1650)));
  EXPECT_THAT(largest.get(), UnorderedElementsAre(99, 97, 98));
  EXPECT_THAT(running.get(), ElementsAre(0, 1, 3, 6));
}

TEST(Stream, TellsAFunctionItsKey) {
  LocalEnvironment env("key");
  auto keys = env.from_collection(numbers(3))
                  .key_by([](int x) { return "k" + std::to_string(x); })
                  .map([](int, Context& c) { return c.key<std::string>(); })
                  .collect();
  run(env);
  EXPECT_THAT(keys.get(), UnorderedElementsAre("k0", "k1", "k2"));
}

TEST(Stream, GoesToEveryReplicaOrToEachInTurn) {
  LocalEnvironment env("spread");
  auto all =
      env.from_collection(numbers(10)).broadcast().parallelism(3).map([](int x) { return x; }).collect();
  auto turns = env.from_collection(numbers(9))
                   .round_robin()
                   .parallelism(3)
                   .map([](int, Context& c) { return c.replica(); })
                   .collect();
  run(env);
  EXPECT_EQ(all.get().size(), 30u);
  EXPECT_THAT(sorted(turns.get()), ElementsAre(0, 0, 0, 1, 1, 1, 2, 2, 2));
}

struct Hooked {
  std::vector<std::string>* said;
  int count = 0;
  void open(Context& c) { said->push_back("open " + c.name()); }
  void operator()(int x, auto&& emit) {
    ++count;
    emit(x);
  }
  void finish(auto& emit) { emit(1000 + count); }
  void close() { said->push_back("close"); }
};

TEST(Stream, CallsTheHooksOfAFunction) {
  LocalEnvironment env("hooks");
  std::vector<std::string> said;
  auto all = env.from_collection(numbers(2)).flat_map<int>(Hooked{&said}).name("hooked").collect();
  run(env);
  EXPECT_THAT(all.get(), ElementsAre(0, 1, 1002));
  EXPECT_THAT(said, ElementsAre("open hooked", "close"));
}

TEST(Stream, HasAMapThatCanBeToldApartInTheReport) {
  LocalEnvironment env("names");
  env.from_collection(numbers(1)).map([](int x) { return x; }).map([](int x) { return x; }).sink([](int) {});
  const PipelineReport report = run(env);
  EXPECT_EQ(op(report, "map").in, 1u);
  EXPECT_EQ(op(report, "map 2").in, 1u);
  EXPECT_THAT(report.dot(), ::testing::HasSubstr("\"map\" -> \"map 2\" [label=\"1\"]"));
  EXPECT_THAT(report.json(), ::testing::HasSubstr(R"("outcome":"completed")"));
}

// What the system that this replaces got wrong; numbers as in docs/prior-defects.md.

TEST(PriorDataflow, Defect1TheFirstEndOfAParallelStageDoesNotEndTheNext) {
  for (int round = 0; round < 50; ++round) {
    LocalEnvironment env("ends");
    auto all = env.from_collection(numbers(20)).map([](int x) { return x; }).parallelism(2).collect();
    run(env);
    ASSERT_EQ(sorted(all.get()), numbers(20));
  }
}

TEST(PriorDataflow, Defect5AnEmptyValueIsARecord) {
  LocalEnvironment env("none");
  auto all = env.from_collection(std::vector<std::optional<int>>{1, std::nullopt, 3}).collect();
  run(env);
  EXPECT_THAT(all.get(), ElementsAre(1, std::nullopt, 3));
}

TEST(PriorDataflow, Defect6EveryValueIsAKey) {
  LocalEnvironment env("keys");
  auto texts = env.from_collection(std::vector<std::string>{"", "a", "", "a", ""})
                   .key_by([](const std::string& x) { return x; })
                   .parallelism(4)
                   .reduce(0, [](int count, const std::string&) { return count + 1; })
                   .collect();
  auto zeros = env.from_collection({0, 1, 0})
                   .key_by([](int x) { return x; })
                   .parallelism(4)
                   .reduce(0, [](int count, int) { return count + 1; })
                   .collect();
  run(env);
  EXPECT_THAT(texts.get(), UnorderedElementsAre(std::pair("", 3), std::pair("a", 2)));
  EXPECT_THAT(zeros.get(), UnorderedElementsAre(std::pair(0, 2), std::pair(1, 1)));
  EXPECT_EQ(KeyHash<std::string>()("weights"), 8645008722123983373U)
      << "a hash that other processes must have too";
}

TEST(PriorDataflow, Defect7AStreamThatMeetsItselfComesTwice) {
  LocalEnvironment env("itself");
  auto stream = env.from_collection(numbers(100));
  auto all = stream.union_with(stream).collect();
  run(env);
  EXPECT_EQ(all.get().size(), 200u);
}

TEST(PriorDataflow, Defect8ParallelismBehindASourceMultipliesNothing) {
  LocalEnvironment env("source");
  auto all = env.from_collection(numbers(10)).map([](int x) { return x; }).parallelism(2).collect();
  run(env);
  EXPECT_EQ(all.get().size(), 10u);
}

TEST(PriorDataflow, Defect9APredicateSeesRecordsOnly) {
  LocalEnvironment env("predicate");
  std::vector<int> seen;
  env.from_collection(numbers(3))
      .filter([&](int x) {
        seen.push_back(x);
        return true;
      })
      .sink([](int) {});
  run(env);
  EXPECT_EQ(seen, numbers(3));
}

TEST(Streams, ThatWereMovedFromAreRefusedByName) {
  LocalEnvironment env("moved");
  auto named = env.from_collection(numbers(3)).map([](int x) { return x; }).name("same");
  auto plain = env.from_collection(numbers(3)).key_by([](int x) { return x; });
  std::move(named).sink([](int) {});
  auto kept = std::move(plain);
  std::move(kept).sink([](int) {});
  EXPECT_THAT([&] { named.filter([](int) { return true; }).sink([](int) {}); },
              ThrowsMessage<std::logic_error>(HasSubstr("the stream behind 'same' was used already")));
  EXPECT_THAT([&] { std::move(plain).sink([](int) {}); },
              ThrowsMessage<std::logic_error>(HasSubstr("the stream behind 'key_by' was used already")));
  run(env);
}

}  // namespace
}  // namespace ebb
