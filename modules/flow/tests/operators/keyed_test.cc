// Operators with a state for each key, and two streams that meet.
#include <gmock/gmock.h>

#include <map>
#include <memory>

#include "sweep.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;

int last_digit(const int& x) { return x % 10; }

TEST(KeyBy, WithAPolicyCountsWhatHasNoKey) {
  LocalEnvironment env("keys");
  auto sums = env.from_collection(numbers(20))
                  .key_by([](const int& x) {
                    if (x >= 10) throw std::runtime_error("no key");
                    return x % 2;
                  })
                  .name("key")
                  .on_error(skip)
                  .parallelism(2)
                  .reduce(0, [](int sum, const int& x) { return sum + x; })
                  .collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(op(report, "key").skipped, 10U);
  EXPECT_EQ(sums.get().size(), 2U);
}

// A filter or a change of replicas between key_by() and what has the keys' state must not part a key's
// records.
TEST(KeyBy, KeepsAKeyTogetherThroughWhateverFollows) {
  LocalEnvironment env("together");
  ebb::DataStream a = env.from_collection(numbers(1000));
  ebb::DataStream b = env.from_collection(numbers(1000));
  auto sums = a.key_by(last_digit)
                  .parallelism(2)
                  .filter([](const int& x) { return x % 3 == 0; })
                  .parallelism(3)
                  .union_with(b.key_by(last_digit))
                  .parallelism(2)
                  .reduce(0, [](int sum, const int&) { return sum + 1; })
                  .parallelism(3)
                  .collect();
  run(env);
  std::map<int, int> expected, found;
  for (int x = 0; x < 1000; ++x) expected[x % 10] += x % 3 == 0 ? 2 : 1;
  for (const auto& [key, count] : sums.get())
    EXPECT_TRUE(found.emplace(key, count).second) << "twice: " << key;
  EXPECT_EQ(found, expected);
}

TEST(Process, HasItsKeysState) {
  LocalEnvironment env("process");
  auto thirds = env.from_collection(numbers(100))
                    .key_by(last_digit)
                    .parallelism(2)
                    .process([](const int& x, Keyed<int>& seen, Collector<std::string>& emit, Context& c) {
                      if (++*seen % 3 != 0) return;
                      emit(std::to_string(c.key<int>()) + ":" + std::to_string(x));
                    })
                    .collect();
  run(env);
  EXPECT_EQ(thirds.get().size(), 30U);
  EXPECT_EQ(std::count(thirds.get().begin(), thirds.get().end(), "7:27"), 1);
}

TEST(Process, TakesAGenericEmitAndAnInitialState) {
  LocalEnvironment env("initial");
  auto rest = env.from_collection(numbers(50))
                  .key_by(last_digit)
                  .process<int>(
                      [](const int& x, Keyed<int>& left, auto& emit) {
                        if (--*left >= 0) emit(x);
                        if (x >= 40) left.clear();
                      },
                      2)
                  .collect();
  run(env);
  EXPECT_EQ(rest.get(), numbers(20));
}

// Also with a generic `emit`, where the function's type alone says nothing.
TEST(Process, FindsItsStateInWhatTheFunctionTakes) {
  LocalEnvironment env("found");
  auto sums = env.from_collection(numbers(30))
                  .key_by(last_digit)
                  .process([](const int& x, Keyed<int>& sum, auto& emit) {
                    *sum += x;
                    if (x >= 20) emit(*sum);
                  })
                  .collect();
  auto names = env.from_collection(numbers(3))
                   .key_by(last_digit)
                   .process<std::string>([](const int&, Keyed<std::string>& name, auto& emit, Context& c) {
                     emit(*name + std::to_string(c.key<int>()));
                   })
                   .collect();
  run(env);
  EXPECT_EQ(sums.get(), (std::vector{30, 33, 36, 39, 42, 45, 48, 51, 54, 57}));
  EXPECT_EQ(names.get(), (std::vector<std::string>{"0", "1", "2"}));
}

TEST(Process, StatesForgetWhatIsTooOld) {
  auto value = ValueState<int>().ttl(Duration::zero());
  value.set(3);
  EXPECT_EQ(value.get(), nullptr);
  EXPECT_TRUE(value.empty());
  auto lasting = ValueState<int>().ttl(1h);
  lasting.set(3);
  EXPECT_EQ(lasting.value_or(0), 3);
  auto list = ListState<int>().ttl(Duration::zero());
  list.add(1);
  list.add(2);
  EXPECT_TRUE(list.empty());
  EXPECT_TRUE(list.get().empty());
  ListState<int> kept;
  kept.add(1);
  kept.add(2);
  EXPECT_EQ(kept.get(), (std::vector{1, 2}));
  auto map = MapState<std::string, int>().ttl(Duration::zero());
  for (int i = 0; i < 1000; ++i) map.set(std::to_string(i), i);
  EXPECT_EQ(map.get("7"), nullptr);
  EXPECT_TRUE(map.empty());
  MapState<std::string, int> all;
  all.set("b", 2);
  all.set("a", 1);
  all.erase("b");
  std::string found;
  all.for_each([&](const std::string& key, int number) { found += key + std::to_string(number); });
  EXPECT_EQ(found, "a1");
}

// Each key's state is over at once, so that a million keys may pass under a limit that a tenth would break.
TEST(Process, KeysWhoseStateIsEmptyTakeNoRoom) { EXPECT_EQ(sweep(300'000), 300'000u); }

TEST(Limits, AStateThatGrowsPastItsLimitFailsThePipelineAndIsNamed) {
  LocalEnvironment env("grows");
  env.from_source([n = 0]() mutable { return std::optional(n++); })
      .key_by([](const int& x) { return x; })
      .reduce(0, [](int sum, const int&) { return sum; })
      .name("count all")
      .sink([](const std::pair<int, int>&) {});
  const PipelineReport failed = failure_of(env, {.autostop = true, .state_limit = 64_KiB});
  EXPECT_EQ(failed.failed_at, "count all");
  EXPECT_THAT(failed.error, HasSubstr("state_limit"));
  EXPECT_THAT(failed.error, HasSubstr("64 KiB"));
}

TEST(Limits, CollectHoldsNoMoreThanItsLimit) {
  LocalEnvironment env("collect");
  auto all = env.from_source([] { return std::optional(std::string(1000, 'x')); }).collect({.limit = 64_KiB});
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "collect");
  EXPECT_THAT(failed.error, HasSubstr("limit"));
  EXPECT_LT(all.get().size(), 65U);
  EXPECT_GT(all.get().size(), 50U);
}

struct Person {
  int id;
  std::string name;
};
struct Order {
  int person;
  std::string what;
};

TEST(JoinAll, GivesEachPairWithTheSameKey) {
  LocalEnvironment env("join");
  ebb::DataStream people =
      env.from_collection(std::vector<Person>{{1, "Ada"}, {2, "Bo"}, {3, "Cy"}}).name("people");
  ebb::DataStream orders =
      env.from_collection(std::vector<Order>{{1, "tea"}, {2, "jam"}, {1, "pie"}, {9, "gin"}}).name("orders");
  auto joined = people.key_by([](const Person& p) { return p.id; })
                    .join_all(orders.key_by([](const Order& o) { return o.person; }), {.limit = 1_MiB},
                              [](const Person& p, const Order& o) { return p.name + " " + o.what; })
                    .parallelism(2)
                    .collect();
  run(env);
  std::vector<std::string> found = joined.get();
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, (std::vector<std::string>{"Ada pie", "Ada tea", "Bo jam"}));
}

TEST(JoinAll, OfManyRecordsEqualsTheNestedLoop) {
  LocalEnvironment env("join many");
  auto joined = env.from_collection(numbers(300))
                    .key_by([](const int& x) { return x % 17; })
                    .join_all(env.from_collection(numbers(200)).key_by([](const int& x) { return x % 17; }),
                              [](const int& a, const int& b) { return a * 1000 + b; })
                    .parallelism(3)
                    .collect();
  run(env);
  std::vector<int> expected;
  for (int a = 0; a < 300; ++a) {
    for (int b = 0; b < 200; ++b) {
      if (a % 17 == b % 17) expected.push_back(a * 1000 + b);
    }
  }
  EXPECT_EQ(sorted(joined.get()), expected);
}

TEST(JoinAll, PastItsLimitFailsAndIsNamed) {
  LocalEnvironment env("join limit");
  const auto texts = [n = 0]() mutable {
    return std::optional(std::string(1000, 'x') + std::to_string(n++));
  };
  const auto key = [](const std::string& text) { return text; };
  env.from_source(texts)
      .key_by(key)
      .join_all(env.from_source(texts).key_by(key), {.limit = 100_KiB},
                [](const std::string& a, const std::string&) { return a; })
      .name("pairs")
      .sink([](const std::string&) {});
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "pairs");
  EXPECT_THAT(failed.error, HasSubstr("100 KiB"));
}

TEST(Connect, CallsAFunctionForEachType) {
  LocalEnvironment env("comap");
  ebb::DataStream texts = env.from_collection(std::vector<std::string>{"a", "bb"});
  auto lengths = env.from_collection(numbers(3))
                     .connect(texts)
                     .comap([](int x) { return x; },
                            [](const std::string& text) { return -static_cast<int>(text.size()); })
                     .collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(sorted(lengths.get()), (std::vector{-2, -1, 0, 1, 2}));
  EXPECT_EQ(op(report, "comap").processed, 5U);
}

// The rules come first here, since what they change waits for them by a key of its own.
TEST(Connect, WithKeysBringsBothSidesOfAKeyTogether) {
  struct Shop {
    std::map<int, int> held;
    int map1(int x) { return ++held[x % 10]; }
    int map2(const std::string& text) { return ++held[static_cast<int>(text.size()) % 10]; }
  };
  LocalEnvironment env("keyed");
  std::vector<std::string> texts;
  texts.reserve(100);
  for (std::size_t i = 0; i < 100; ++i) texts.emplace_back(i, 'x');
  auto counts = env.from_collection(numbers(100))
                    .key_by(last_digit)
                    .connect(env.from_collection(texts).key_by(
                        [](const std::string& text) { return static_cast<int>(text.size()) % 10; }))
                    .parallelism(3)
                    .comap(Shop{})
                    .collect();
  run(env);
  std::map<int, int> times;
  for (const int count : counts.get()) ++times[count];
  for (int count = 1; count <= 20; ++count) EXPECT_EQ(times[count], 10) << count;
}

TEST(Connect, TakesKeysOfBothMapsExpandsAndSinks) {
  LocalEnvironment env("more");
  ebb::DataStream numbers_of = env.from_collection(numbers(4));
  ebb::DataStream texts = env.from_collection(std::vector<std::string>{"a", "b"});
  auto mapped = numbers_of.connect(texts).map([](const auto&) { return 1; }).collect();
  auto expanded = numbers_of.connect(texts)
                      .flat_map<int>([](const int& x, auto& emit) { emit(x), emit(x); },
                                     [](const std::string&, auto& emit) { emit(7); })
                      .collect();
  auto by_key =
      numbers_of.connect(texts)
          .key_by([](const int& x) { return x; }, [](const std::string& text) { return text[0] - 'a'; })
          .parallelism(2)
          .comap([](int, Context& c) { return c.key<int>(); },
                 [](const std::string&, Context& c) { return 10 + c.key<int>(); })
          .collect();
  int sunk = 0;
  numbers_of.connect(texts).sink([&](const auto&) { ++sunk; });
  run(env);
  EXPECT_EQ(mapped.get().size(), 6U);
  EXPECT_EQ(sorted(expanded.get()), (std::vector{0, 0, 1, 1, 2, 2, 3, 3, 7, 7}));
  EXPECT_EQ(sorted(by_key.get()), (std::vector{0, 1, 2, 3, 10, 11}));
  EXPECT_EQ(sunk, 6);
}

TEST(PriorDataflow, Defect2AComapLosesNothingOfTheLongerSide) {
  LocalEnvironment env("10 and 300");
  auto all = env.from_collection(numbers(10))
                 .connect(env.from_collection(numbers(300)))
                 .comap([](int x) { return x; }, [](int x) { return x; })
                 .collect();
  run(env);
  EXPECT_EQ(all.get().size(), 310U);
}

TEST(PriorDataflow, Defect11AJoinEndsWhateverItsSourcesAreCalled) {
  LocalEnvironment env("names");
  auto joined = env.from_collection(numbers(3))
                    .name("left")
                    .key_by(last_digit)
                    .join_all(env.from_collection(numbers(3)).name("right").key_by(last_digit),
                              [](int a, int b) { return a + b; })
                    .collect();
  run(env);
  EXPECT_EQ(sorted(joined.get()), (std::vector{0, 2, 4}));
}

TEST(Chains, LongerThanOneTypeHoldsAreCutOnTheSameThread) {
  LocalEnvironment env("long");
  const auto plus = [](std::unique_ptr<int> x) {
    ++*x;
    return x;
  };
  auto chain = env.from_source(
      [n = 0]() mutable { return n < 100 ? std::optional(std::make_unique<int>(n++)) : std::nullopt; });
  auto eight =
      std::move(chain).map(plus).map(plus).map(plus).map(plus).map(plus).map(plus).map(plus).map(plus);
  auto sums = std::move(eight)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map(plus)
                  .map([](std::unique_ptr<int> x) { return *x; })
                  .collect();
  const PipelineReport report = run(env);
  ASSERT_EQ(sums.get().size(), 100U);
  EXPECT_EQ(sums.get()[3], 3 + 18);
  EXPECT_EQ(report.stages.size(), 1U) << report;
}

TEST(Graph, AMoveOnlyStreamThatIsUsedTwiceIsRefused) {
  LocalEnvironment env("twice");
  ebb::DataStream s =
      env.from_source([] { return std::optional(std::make_unique<int>(1)); }).name("pointers");
  s.sink([](std::unique_ptr<int>) {});
  s.sink([](std::unique_ptr<int>) {});
  const std::string refusal = refusal_of(env);
  EXPECT_THAT(refusal, HasSubstr("'pointers' gives records that cannot be copied"));
}

}  // namespace
}  // namespace ebb
