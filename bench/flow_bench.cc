// Pipelines beside what the same work costs without them. flow_bench ROW [RUNS]: one JSON line for each
// figure.

#include <ebb/flow.h>
#include <fmt/core.h>
#include <oneapi/tbb/flow_graph.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using std::uint64_t;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

double nanoseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::nano>(duration).count();
}
double milliseconds(Clock::duration duration) { return nanoseconds(duration) / 1e6; }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What interleaved runs took, by who it was.
class Times {
 public:
  void add(const std::string& who, double took) { times_[who].push_back(took); }
  [[nodiscard]] double of(const std::string& who) const { return median(times_.at(who)); }

 private:
  std::map<std::string, std::vector<double>> times_;
};

struct Row {
  std::string_view id, what, unit, goal;
  double ebb = 0;
  std::optional<double> limit;
  bool held = false;
  std::string peers;  // JSON
  int runs = 0;
};
void print(const Row& row) {
  fmt::print(R"({{"id": "{}", "what": "{}", "ebb": {:.4g}, "unit": "{}", "limit": {}, "ratio": {}, )"
             R"("goal": "{}", "held": {}, "peers": {{{}}}, "runs": {}}})"
             "\n",
             row.id, row.what, row.ebb, row.unit, row.limit ? fmt::format("{:.4g}", *row.limit) : "null",
             row.limit ? fmt::format("{:.4g}", row.ebb / *row.limit) : "null", row.goal, row.held, row.peers,
             row.runs);
}
std::string peer(std::string_view name, double value) { return fmt::format(R"("{}": {:.4g})", name, value); }

// ---- records

// 64 KB.
std::vector<uint64_t> records() {
  std::vector<uint64_t> all(8192);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i * 7 + 3;
  return all;
}

// Gives them again and again.
struct Replay {
  std::span<uint64_t> all;
  uint64_t rounds;
  std::size_t next = 0;

  std::span<uint64_t> batch(std::size_t limit) {
    if (next == all.size()) {
      if (--rounds == 0) return {};
      next = 0;
    }
    const std::size_t count = std::min(limit, all.size() - next);
    next += count;
    return all.subspan(next - count, count);
  }
};
struct Sum {
  uint64_t* into;
  uint64_t sum = 0;
  void operator()(uint64_t record) { sum += record; }
  void finish() { *into = sum; }
};

constexpr auto kMap = [](uint64_t x) { return x * 3 + 1; };
constexpr auto kFilter = [](const uint64_t& x) { return (x & 4) != 0; };
constexpr auto kKey = [](const uint64_t& x) { return x * 2654435761 % 10'000; };

// A value that the compiler must compute.
void use(uint64_t value) { asm volatile("" : : "r"(value) : "memory"); }

uint64_t loop_over(const std::vector<uint64_t>& all, uint64_t rounds) {
  uint64_t sum = 0;
  for (uint64_t round = 0; round < rounds; ++round) {
    asm volatile("" : : : "memory");  // the records may have changed
    for (const uint64_t record : all) {
      const uint64_t mapped = kMap(record);
      if (kFilter(mapped)) sum += mapped;
    }
  }
  return sum;
}

template <typename Build>
double submit(const char* name, Build&& build) {
  ebb::LocalEnvironment env(name);
  build(env);
  const auto begin = Clock::now();
  const ebb::PipelineReport report = env.submit({.autostop = true});
  return nanoseconds(Clock::now() - begin);
}

template <typename Do>
double timed(Do&& action) {
  const auto begin = Clock::now();
  action();
  return nanoseconds(Clock::now() - begin);
}

void demand(bool holds, const char* what) {
  if (holds) return;
  fmt::print(stderr, "flow_bench: {}\n", what);
  std::exit(1);
}

// ---- P5: in one loop

double tbb_flow_graph(const std::vector<uint64_t>& all, uint64_t rounds, uint64_t& sum) {
  using namespace oneapi::tbb::flow;
  graph g;
  std::size_t next = 0;
  const std::size_t count = all.size() * rounds;
  input_node<uint64_t> source(g, [&](oneapi::tbb::flow_control& control) -> uint64_t {
    if (next == count) {
      control.stop();
      return 0;
    }
    return all[next++ % all.size()];
  });
  function_node<uint64_t, uint64_t, lightweight> map(g, serial, [](uint64_t x) noexcept { return kMap(x); });
  multifunction_node<uint64_t, std::tuple<uint64_t>, lightweight> filter(
      g, serial, [](uint64_t x, auto& ports) noexcept {
        if (kFilter(x)) std::get<0>(ports).try_put(x);
      });
  function_node<uint64_t, continue_msg, lightweight> sink(g, serial, [&](uint64_t x) noexcept {
    sum += x;
    return continue_msg();
  });
  make_edge(source, map);
  make_edge(map, filter);
  make_edge(output_port<0>(filter), sink);
  return timed([&] {
    source.activate();
    g.wait_for_all();
  });
}

// All of them on one core: where two cores are not equally fast, what ran on which decides otherwise.
void stay_on_this_core() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
  demand(sched_setaffinity(0, sizeof one, &one) == 0, "cannot stay on one core");
}

void p5(int runs) {
  stay_on_this_core();
  std::vector<uint64_t> all = records();
  constexpr uint64_t kRounds = 5000, kRoundsOfTbb = 20;
  const double count = static_cast<double>(kRounds * all.size());
  Times times;
  for (int run = 0; run < runs; ++run) {
    uint64_t expected = 0, sum = 0, sum_of_tbb = 0;
    times.add("loop", timed([&] { use(expected = loop_over(all, kRounds)); }) / count);
    times.add("ebb", submit("p5", [&](ebb::LocalEnvironment& env) {
                       env.from_source(Replay{all, kRounds}).map(kMap).filter(kFilter).sink(Sum{&sum});
                     }) / count);
    times.add("tbb",
              tbb_flow_graph(all, kRoundsOfTbb, sum_of_tbb) / static_cast<double>(kRoundsOfTbb * all.size()));
    demand(sum == expected, "P5: the sums differ");
  }
  print({.id = "P5",
         .what = "a record through map, filter and sink in one loop",
         .unit = "ns",
         .goal = "≤ 1.1 × the loop",
         .ebb = times.of("ebb"),
         .limit = times.of("loop"),
         .held = times.of("ebb") <= 1.1 * times.of("loop"),
         .peers = peer("oneTBB flow graph", times.of("tbb")),
         .runs = runs});
}

// ---- P6: over threads

// A ring as one writes it for one purpose: positions are told once for 256 records, nobody ever sleeps.
class BareRing {
 public:
  void push(uint64_t record) {
    while (tail_ - seen_head_ == kSize) {
      tell();
      seen_head_ = head_.load(std::memory_order_acquire);
    }
    slots_[tail_ % kSize] = record;
    if (++tail_ % 256 == 0) tell();
  }
  void close() {
    tell();
    closed_.store(true, std::memory_order_release);
  }
  template <typename Take>
  void take_all(Take&& take) {
    for (uint64_t head = 0;;) {
      const bool closed = closed_.load(std::memory_order_acquire);
      const uint64_t tail = told_.load(std::memory_order_acquire);
      if (tail == head && closed) return;
      if (tail == head) std::this_thread::yield();
      for (; head != tail; ++head) take(slots_[head % kSize]);
      head_.store(head, std::memory_order_release);
    }
  }

 private:
  static constexpr uint64_t kSize = 8192;
  void tell() { told_.store(tail_, std::memory_order_release); }

  uint64_t tail_ = 0, seen_head_ = 0;
  alignas(64) std::atomic<uint64_t> told_{0};
  std::atomic<bool> closed_{false};
  alignas(64) std::atomic<uint64_t> head_{0};
  std::vector<uint64_t> slots_ = std::vector<uint64_t>(kSize);
};

double bare_crossings(const std::vector<uint64_t>& all, uint64_t rounds, int crossings, uint64_t& sum) {
  std::vector<BareRing> rings(static_cast<std::size_t>(crossings));
  return timed([&] {
    std::vector<std::thread> threads;
    threads.reserve(rings.size());
    for (std::size_t i = 0; i < rings.size(); ++i) {
      threads.emplace_back([&, i] {
        uint64_t mine = 0;
        if (i + 1 == rings.size()) {
          rings[i].take_all([&](uint64_t record) { mine += record; });
          sum = mine;
        } else {
          rings[i].take_all([&](uint64_t record) { rings[i + 1].push(record); });
          rings[i + 1].close();
        }
      });
    }
    for (uint64_t round = 0; round < rounds; ++round) {
      for (const uint64_t record : all) rings[0].push(record);
    }
    rings[0].close();
    for (std::thread& thread : threads) thread.join();
  });
}

void p6(int runs) {
  std::vector<uint64_t> all = records();
  constexpr uint64_t kRounds = 1000;
  const double count = static_cast<double>(kRounds * all.size());
  Times times;
  for (int run = 0; run < runs; ++run) {
    uint64_t expected = 0, sum = 0;
    times.add("bare 1", bare_crossings(all, kRounds, 1, expected) / count);
    times.add("ebb 1", submit("p6", [&](ebb::LocalEnvironment& env) {
                         env.from_source(Replay{all, kRounds}).sink(Sum{&sum}).parallelism(1);
                       }) / count);
    demand(sum == expected, "P6: the sums differ");
    times.add("bare 3", bare_crossings(all, kRounds, 3, expected) / count / 3);
    times.add("ebb 3", submit("p6",
                              [&](ebb::LocalEnvironment& env) {
                                const auto same = [](uint64_t x) { return x; };
                                env.from_source(Replay{all, kRounds})
                                    .map(same)
                                    .parallelism(1)
                                    .map(same)
                                    .parallelism(1)
                                    .sink(Sum{&sum});
                              }) /
                           count / 3);
    demand(sum == expected, "P6: the sums differ");
  }
  for (const int crossings : {1, 3}) {
    const std::string ours = fmt::format("ebb {}", crossings), bare = fmt::format("bare {}", crossings);
    print({.id = "P6",
           .what = crossings == 1 ? "a record from one thread to the next" : "the same, each of three times",
           .unit = "ns",
           .goal = "≤ 1.2 ns",
           .ebb = times.of(ours),
           .limit = times.of(bare),
           .held = times.of(ours) <= 1.2,
           .peers = "",
           .runs = runs});
  }
}

// A source that gives ten thousand records a second, and what each takes to the sink on another thread.
void p6_latency() {
  constexpr int kRecords = 20'000;
  std::vector<double> took;
  took.reserve(kRecords);
  submit("p6", [&](ebb::LocalEnvironment& env) {
    env.from_source([given = 0, next = Clock::now()]() mutable -> std::optional<Clock::time_point> {
         if (++given > kRecords) return std::nullopt;
         next += 100us;
         while (Clock::now() < next) std::this_thread::sleep_until(next);
         return Clock::now();
       })
        .sink([&](Clock::time_point given) { took.push_back(nanoseconds(Clock::now() - given) / 1000); })
        .parallelism(1);
  });
  std::sort(took.begin(), took.end());
  const double p99 = took[took.size() * 99 / 100];
  print({.id = "P6",
         .what = "10,000 records/s: from the source to a sink on another thread, p99",
         .unit = "µs",
         .goal = "≤ 200 µs",
         .ebb = p99,
         .limit = {},
         .held = p99 <= 200,
         .peers = fmt::format(R"("median": {:.4g})", took[took.size() / 2]),
         .runs = kRecords});
}

// ---- P7: by keys

double bare_partition(const std::vector<uint64_t>& all, uint64_t rounds, std::size_t& keys) {
  using Table = ebb::flow::KeyTable<uint64_t, uint64_t>;
  BareRing rings[2];
  Table tables[2];
  return timed([&] {
    std::vector<std::thread> threads;
    threads.reserve(2);
    for (std::size_t i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] {
        rings[i].take_all([&](uint64_t record) {
          const uint64_t key = kKey(record);
          *tables[i].try_emplace(ebb::KeyHash<uint64_t>()(key), key, 0).first += record;
        });
      });
    }
    for (uint64_t round = 0; round < rounds; ++round) {
      for (const uint64_t record : all) rings[kKey(record) % 2].push(record + round);
    }
    for (BareRing& ring : rings) ring.close();
    for (std::thread& thread : threads) thread.join();
    keys = tables[0].size() + tables[1].size();
  });
}

void p7(int runs) {
  std::vector<uint64_t> all(1 << 20);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  constexpr uint64_t kRounds = 8;
  const double count = static_cast<double>(kRounds * all.size());
  Times times;
  for (int run = 0; run < runs; ++run) {
    std::size_t keys = 0;
    times.add("bare", bare_partition(all, kRounds, keys) / count);
    std::optional<ebb::Collected<std::pair<uint64_t, uint64_t>>> sums;
    times.add("ebb",
              submit("p7", [&](ebb::LocalEnvironment& env) {
                sums.emplace(env.from_source(Replay{all, kRounds})
                                 .key_by(kKey)
                                 .parallelism(2)
                                 .reduce(uint64_t{0}, [](uint64_t& sum, const uint64_t& x) { sum += x; })
                                 .collect());
              }) / count);
    demand(sums->get().size() == 10'000, "P7: not ten thousand keys");
  }
  const double ebb = times.of("ebb"), limit = times.of("bare");
  print({.id = "P7",
         .what = "a record summed by one of 10,000 keys, in two replicas",
         .unit = "ns",
         .goal = "≤ 10 ns and ≤ 2 × by hand",
         .ebb = ebb,
         .limit = limit,
         .held = ebb <= 10 && ebb <= 2 * limit,
         .peers = "",
         .runs = runs});
}

// ---- P8: the end

struct Hooked {
  void setup() {}
  void start() {}
  void stop() {}
  void cleanup() {}
};

void p8(int runs) {
  std::vector<double> took;
  for (int run = 0; run < runs; ++run) {
    ebb::LocalEnvironment env("p8");
    for (int i = 0; i < 100; ++i) (void)env.register_service<Hooked>(fmt::format("service-{}", i));
    Clock::time_point last;
    env.from_collection(records()).sink([&](uint64_t) { last = Clock::now(); });
    const ebb::PipelineReport report = env.submit({.autostop = true});
    took.push_back(milliseconds(Clock::now() - last));
  }
  const double middle = median(took);
  print({.id = "P8",
         .what = "last record → submit returns, 100 services",
         .unit = "ms",
         .goal = "≤ 1 ms",
         .ebb = middle,
         .limit = {},
         .held = middle <= 1,
         .peers = "",
         .runs = runs});
}

// A source that gives nothing until it is to end.
struct Waiting {
  std::optional<uint64_t> operator()(const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any ended;
    ended.wait(lock, stop, [] { return false; });
    return std::nullopt;
  }
};

void p8b(int runs) {
  std::vector<double> took;
  for (int run = 0; run < runs; ++run) {
    ebb::LocalEnvironment env("p8b");
    ebb::DataStream stream = env.from_source(Waiting{});
    for (int i = 0; i < 48; ++i) stream = stream.map([](uint64_t x) { return x; }).parallelism(1);
    stream.sink([](uint64_t) {});
    ebb::Pipeline pipeline = env.submit();
    std::this_thread::sleep_for(20ms);  // so that all of them wait
    const auto begin = Clock::now();
    pipeline.cancel();
    (void)pipeline.wait();
    took.push_back(milliseconds(Clock::now() - begin));
  }
  const double middle = median(took);
  print({.id = "P8b",
         .what = "cancel of 50 operators that wait → ended",
         .unit = "ms",
         .goal = "≤ 5 ms",
         .ebb = middle,
         .limit = {},
         .held = middle <= 5,
         .peers = "",
         .runs = runs});
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string_view, std::function<void(int)>> rows = {
      {"P5", p5}, {"P6", [](int runs) { p6(runs), p6_latency(); }}, {"P7", p7}, {"P8", p8}, {"P8b", p8b}};
  const auto row = argc > 1 ? rows.find(argv[1]) : rows.end();
  const int runs = argc > 2 ? std::atoi(argv[2]) : 9;
  if (row == rows.end() || runs < 1) {
    fmt::print(stderr, "usage: flow_bench P5|P6|P7|P8|P8b [RUNS]\n");
    return 2;
  }
  row->second(runs);
  return 0;
}
