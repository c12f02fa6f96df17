// Records of every kind through every kind of edge, and functions that throw wherever one can.
#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;

// ---- records

struct Empty {};
struct alignas(256) Aligned {
  int number = 0;
  [[nodiscard]] bool in_place() const { return reinterpret_cast<std::uintptr_t>(this) % 256 == 0; }
};
struct Large {
  int number = 0;
  std::array<char, std::size_t{1} << 20> bytes{};
};
struct MoveOnly {
  explicit MoveOnly(int x) : number(std::make_unique<int>(x)) {}
  std::unique_ptr<int> number;
};
struct Moved {  // byte by byte, but not copied
  explicit Moved(int x) : number(x) {}
  Moved(Moved&&) = default;
  Moved& operator=(Moved&&) = default;
  Moved(const Moved&) = delete;
  Moved& operator=(const Moved&) = delete;
  ~Moved() = default;
  int number;
};
static_assert(std::is_trivially_copyable_v<Moved>);
struct Counted {  // not even its default constructor
  explicit Counted(int x) : number(x) {}
  int number;
};

template <typename T>
T made(int x) {
  if constexpr (std::same_as<T, Empty>) {
    return {};
  } else if constexpr (std::same_as<T, std::vector<char>>) {
    return std::vector<char>(std::size_t{1} << 20, static_cast<char>(x));
  } else if constexpr (std::is_aggregate_v<T>) {
    T record;
    record.number = x;
    return record;
  } else {
    return T(x);
  }
}

template <typename T>
class Records : public ::testing::Test {};
using Kinds = ::testing::Types<Empty, Aligned, Large, MoveOnly, Moved, Counted, std::vector<char>>;
TYPED_TEST_SUITE(Records, Kinds);

TYPED_TEST(Records, GoThroughRingsKeysCyclesAndInlineStages) {
  using T = TypeParam;
  constexpr int kCount = sizeof(T) > 1000 || std::same_as<T, std::vector<char>> ? 20 : 2000;
  LocalEnvironment env("records");
  auto again = env.from_future<std::pair<int, T>>();
  std::atomic<std::uint64_t> wrong{0};
  auto keyed =
      env.from_source([n = 0]() mutable -> std::optional<T> {
           if (n == kCount) return std::nullopt;
           return made<T>(n++);
         })
          .map([](T&& record) { return std::move(record); })
          .parallelism(2)
          .filter([](const T&) { return true; })
          .map([n = 0](T&& record) mutable { return std::pair<int, T>(n++, std::move(record)); })
          .parallelism(1)
          .union_with(again)
          .key_by([](const std::pair<int, T>& p) { return p.first % 5; })
          .parallelism(2)
          .template process<std::pair<int, T>, int>([&](const std::pair<int, T>& p, Keyed<int>& seen, auto&) {
            ++*seen;
            if constexpr (requires { p.second.in_place(); }) {
              if (!p.second.in_place()) ++wrong;
            }
          })
          .filter([](const std::pair<int, T>&) { return true; });
  std::move(keyed).fill_future(again);
  const PipelineReport report = run(env);
  EXPECT_EQ(op(report, "process").in, static_cast<std::uint64_t>(kCount));
  EXPECT_EQ(wrong, 0U);
}

TYPED_TEST(Records, GoRoundAndComeOut) {
  using T = TypeParam;
  constexpr int kCount = 12;
  LocalEnvironment env("round");
  auto again = env.from_future<std::pair<int, T>>();
  auto done = std::make_shared<std::uint64_t>(0);
  env.from_source([n = 0]() mutable -> std::optional<std::pair<int, T>> {
       if (n == kCount) return std::nullopt;
       return std::pair<int, T>(3, made<T>(n++));
     })
      .union_with(again)
      .map([done](std::pair<int, T>&& p) {
        if (--p.first == 0) ++*done;
        return std::move(p);
      })
      .filter([](const std::pair<int, T>& p) { return p.first > 0; })
      .fill_future(again);
  run(env);
  EXPECT_EQ(*done, static_cast<std::uint64_t>(kCount));
}

// ---- functions that throw

[[noreturn]] void bang() { throw std::runtime_error("bang"); }

// A function object whose `where` throws; any of its hooks may be that.
struct Bomb {
  std::string where;
  void at(const char* here) const {
    if (where == here) bang();
  }
  void open(Context&) const { at("open"); }
  void commit() const { at("commit"); }
  void close() const { at("close"); }
};
struct MapBomb : Bomb {
  int operator()(int x) const { return at("call"), x; }
};
struct FlatMapBomb : Bomb {
  void operator()(const int& x, Collector<int>& emit) const { at("call"), emit(x); }
  void finish(Collector<int>&) const { at("finish"); }
};
struct SinkBomb : Bomb {
  void operator()(int) const { at("call"); }
  void finish() const { at("finish"); }
};

struct Throws {
  const char* what;
  std::function<void(LocalEnvironment&)> build;
};
const std::vector<Throws>& all_that_throw() {
  const auto source = [](LocalEnvironment& env) { return env.from_collection(numbers(10)); };
  const auto by = [](const int& x) { return x % 3; };
  const auto nowhere = [](auto&&...) {};
  static const std::vector<Throws> all = {
      {"source",
       [=](auto& env) { env.from_source([]() -> std::optional<int> { bang(); }).name("X").sink(nowhere); }},
      {"map", [=](auto& env) { source(env).map(MapBomb{{"call"}}).name("X").sink(nowhere); }},
      {"map open", [=](auto& env) { source(env).map(MapBomb{{"open"}}).name("X").sink(nowhere); }},
      {"map commit", [=](auto& env) { source(env).map(MapBomb{{"commit"}}).name("X").sink(nowhere); }},
      {"map close", [=](auto& env) { source(env).map(MapBomb{{"close"}}).name("X").sink(nowhere); }},
      {"parallel map",
       [=](auto& env) { source(env).map(MapBomb{{"call"}}).name("X").parallelism(3).sink(nowhere); }},
      {"ordered",
       [=](auto& env) {
         source(env).map(MapBomb{{"call"}}).name("X").parallelism(2).ordered().sink(nowhere);
       }},
      {"filter", [=](auto& env) { source(env).filter([](int) -> bool { bang(); }).name("X").sink(nowhere); }},
      {"flat_map",
       [=](auto& env) { source(env).template flat_map<int>(FlatMapBomb{{"call"}}).name("X").sink(nowhere); }},
      {"flat_map finish",
       [=](auto& env) {
         source(env).template flat_map<int>(FlatMapBomb{{"finish"}}).name("X").sink(nowhere);
       }},
      {"key_by",
       [=](auto& env) {
         source(env)
             .key_by([](const int&) -> int { bang(); })
             .name("X")
             .reduce([](int a, int) { return a; })
             .sink(nowhere);
       }},
      {"reduce",
       [=](auto& env) {
         source(env).key_by(by).reduce([](int, int) -> int { bang(); }).name("X").sink(nowhere);
       }},
      {"fold",
       [=](auto& env) {
         source(env).key_by(by).reduce(0, [](int, int) -> int { bang(); }).name("X").sink(nowhere);
       }},
      {"running_reduce",
       [=](auto& env) {
         source(env).key_by(by).running_reduce([](int, int) -> int { bang(); }).name("X").sink(nowhere);
       }},
      {"process",
       [=](auto& env) {
         source(env)
             .key_by(by)
             .process([](const int&, Keyed<int>&, Collector<int>&) { bang(); })
             .name("X")
             .sink(nowhere);
       }},
      {"join_all",
       [=](auto& env) {
         source(env)
             .key_by(by)
             .join_all(source(env).key_by(by), [](int, int) -> int { bang(); })
             .name("X")
             .sink(nowhere);
       }},
      {"comap",
       [=](auto& env) {
         source(env)
             .connect(source(env))
             .comap([](int x) { return x; }, [](int) -> int { bang(); })
             .name("X")
             .sink(nowhere);
       }},
      {"async_map",
       [=](auto& env) { source(env).async_map([](const int&) -> int { bang(); }).name("X").sink(nowhere); }},
      {"sink", [=](auto& env) { source(env).sink(SinkBomb{{"call"}}).name("X"); }},
      {"sink open", [=](auto& env) { source(env).sink(SinkBomb{{"open"}}).name("X"); }},
      {"sink finish", [=](auto& env) { source(env).sink(SinkBomb{{"finish"}}).name("X"); }},
      {"sink commit", [=](auto& env) { source(env).sink(SinkBomb{{"commit"}}).name("X"); }},
      {"sink close", [=](auto& env) { source(env).sink(SinkBomb{{"close"}}).name("X"); }},
      {"a cycle",
       [=](auto& env) {
         auto again = env.template from_future<int>();
         source(env).union_with(again).map(MapBomb{{"call"}}).name("X").fill_future(again);
       }},
      {"behind a named stream",
       [=](auto& env) {
         ebb::DataStream s = source(env).map([](int x) { return x; });
         s.sink(nowhere);
         s.map(MapBomb{{"call"}}).name("X").sink(nowhere);
       }},
  };
  return all;
}

TEST(Throws, AnywhereFailsThePipelineThereWithCountsThatAddUp) {
  for (const Throws& one : all_that_throw()) {
    SCOPED_TRACE(one.what);
    LocalEnvironment env("throws");
    one.build(env);
    const PipelineReport failed = failure_of(env);
    EXPECT_EQ(failed.failed_at, "X");
    EXPECT_EQ(failed.error, "bang");
  }
}

// A copy that throws is nobody's function; the run fails all the same, and nothing is uncounted.
TEST(Throws, ACopyOfARecordThatFailsIsCountedToo) {
  struct Fragile {
    int number = 0;
    Fragile() = default;
    explicit Fragile(int x) : number(x) {}
    Fragile(const Fragile& other) : number(other.number) {
      if (number == 700) bang();
    }
    Fragile(Fragile&&) noexcept = default;
    Fragile& operator=(const Fragile&) = default;
    Fragile& operator=(Fragile&&) noexcept = default;
    ~Fragile() = default;
  };
  LocalEnvironment env("copies");
  env.from_source(
         [n = 0]() mutable { return n < 1000 ? std::optional<Fragile>(std::in_place, n++) : std::nullopt; })
      .broadcast()
      .parallelism(3)
      .map([](const Fragile& record) { return record.number; })
      .sink([](int) {});
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.error, "bang");
}

}  // namespace
}  // namespace ebb
