// Graphs by seed against a plain sequential model: what goes in comes out or is counted, whatever the graph,
// the failures, the moment and the kind of its end. EBB_GRAPHS=10000 plays that many (default 500),
// EBB_GRAPH=SEED one.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using std::uint64_t;

enum class Op {
  source,
  batches,
  map,
  filter,
  flat_map,
  fused,
  in_turn,
  unite,
  by_key,
  take,
  comap,
  join,
  letters,
  ordered,
  async,
  service,
  cycle,
  process
};
enum class OnThrow { never, skip, retry, fail };
enum class End { completes, drain, stop, cancel };

struct Node {
  Op op = Op::source;
  std::vector<std::size_t> inputs;
  uint64_t number = 1;  // what the function does
  OnThrow on_throw = OnThrow::never;
  int replicas = 0;  // 0: as it comes
};
struct Plan {
  std::vector<Node> nodes;
  End end = End::completes;
  std::chrono::microseconds after{};
};

// ---- what the functions compute, for the pipeline and the model alike

bool is_bad(uint64_t x) { return x % 97 == 5; }
uint64_t mapped(uint64_t x, uint64_t number) { return flow::mix(x + number); }
bool passes(uint64_t x, uint64_t number) { return x % (number % 5 + 2) != 0; }
uint64_t copies(uint64_t x, uint64_t number) { return (x >> 8) % (number % 4 + 1); }
uint64_t key_of(uint64_t x, uint64_t number) { return x % (number % 50 + 1); }
bool joins(uint64_t x) { return x % 64 == 0; }
uint64_t pair_of(uint64_t a, uint64_t b) { return flow::mix(a) + b; }
uint64_t rounds(uint64_t x) { return x % 4; }
uint64_t from_sum(uint64_t key, uint64_t sum) { return flow::mix(key) + sum; }

struct Mapper {
  uint64_t number = 0;
  OnThrow on_throw = OnThrow::never;
  uint64_t failed_on = 0;
  uint64_t operator()(const uint64_t& x) {
    // A retry of the same record works.
    if (on_throw != OnThrow::never && is_bad(x) && (on_throw != OnThrow::retry || failed_on != x)) {
      failed_on = x;
      throw std::runtime_error("a bad record");
    }
    return mapped(x, number);
  }
};

// What comes of a record whose function threw.
uint64_t buried(uint64_t x) { return x + 1; }

struct Service {
  uint64_t map(uint64_t x, uint64_t number) { return mapped(x, number); }
};

struct Source {
  uint64_t seed = 0, count = 0;
  std::shared_ptr<std::atomic<uint64_t>> given = std::make_shared<std::atomic<uint64_t>>(0);
  static uint64_t record(uint64_t seed, uint64_t i) { return flow::mix(seed * 1'000'003 + i); }
};
struct OneByOne : Source {
  std::optional<uint64_t> operator()() {
    const uint64_t i = given->load(std::memory_order_relaxed);
    if (i == count) return std::nullopt;
    given->store(i + 1, std::memory_order_relaxed);
    return record(seed, i);
  }
};
struct InBatches : Source {
  std::vector<uint64_t> records{};
  std::span<uint64_t> batch(std::size_t limit) {
    const uint64_t begin = given->load(std::memory_order_relaxed);
    const uint64_t end = std::min<uint64_t>(count, begin + std::min<std::size_t>(limit, 64));
    records.clear();
    for (uint64_t i = begin; i < end; ++i) records.push_back(record(seed, i));
    given->store(end, std::memory_order_relaxed);
    return records;
  }
};

struct Tally {
  std::atomic<uint64_t> count{0}, sum{0};
  void add(uint64_t x) {
    count.fetch_add(1, std::memory_order_relaxed);
    sum.fetch_add(flow::mix(x), std::memory_order_relaxed);
  }
};

// ---- the plan

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t limit) { return engine_() % limit; }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

Plan plan_of(uint64_t seed) {
  Dice dice(seed);
  Plan plan;
  const uint64_t end = dice.below(10);
  plan.end = end < 6 ? End::completes : end < 8 ? End::drain : end < 9 ? End::stop : End::cancel;
  plan.after = std::chrono::microseconds(dice.below(3000));
  const uint64_t sources = 1 + dice.below(3), most = plan.end == End::completes ? 3'000 : 50'000;
  for (uint64_t i = 0; i < sources; ++i) {
    Node source;
    source.op = dice.one_in(3) ? Op::batches : Op::source;
    source.number = dice.below(most);
    plan.nodes.push_back(source);
  }
  const bool may_fail = dice.one_in(8);
  const uint64_t operators = 1 + dice.below(7);
  for (uint64_t i = 0; i < operators; ++i) {
    static constexpr Op kOps[] = {Op::map,     Op::map,     Op::map,     Op::filter,  Op::flat_map,
                                  Op::fused,   Op::in_turn, Op::unite,   Op::by_key,  Op::by_key,
                                  Op::comap,   Op::join,    Op::letters, Op::ordered, Op::async,
                                  Op::service, Op::cycle,   Op::process};
    Node node;
    node.op = dice.one_in(25) ? Op::take : kOps[dice.below(std::size(kOps))];
    node.number = dice.below(1000);
    node.inputs.push_back(dice.below(plan.nodes.size()));
    if (node.op == Op::unite || node.op == Op::comap || node.op == Op::join)
      node.inputs.push_back(dice.below(plan.nodes.size()));
    if (node.op == Op::map) {
      node.on_throw = static_cast<OnThrow>(dice.below(may_fail ? 4 : 3));
    }
    if (!dice.one_in(2)) node.replicas = static_cast<int>(1 + dice.below(3));
    plan.nodes.push_back(node);
  }
  return plan;
}

// ---- the pipeline

using Stream = DataStream<uint64_t>;

template <typename Chain>
auto in_replicas(Chain&& chain, int replicas) {
  using Named = DataStream<typename std::remove_cvref_t<Chain>::Record>;
  return replicas == 0 ? Named(std::forward<Chain>(chain))
                       : Named(std::forward<Chain>(chain).parallelism(replicas));
}

// What waits in a cycle: a record, and how often it still goes round.
using Turn = std::pair<uint64_t, uint64_t>;

Stream build_cycle(LocalEnvironment& env, const Node& node, const Stream& in) {
  auto again = env.from_future<Turn>();
  DataStream turns = in_replicas(in.map([](uint64_t x) { return Turn(x, rounds(x)); }), node.replicas)
                         .union_with(again)
                         .map([](Turn turn) { return turn; });
  in_replicas(turns.filter([](const Turn& turn) { return turn.second > 0; }).map([](Turn turn) {
    return Turn(turn.first, turn.second - 1);
  }),
              node.replicas)
      .fill_future(again);
  return turns.filter([](const Turn& turn) { return turn.second == 0; })
      .map([number = node.number](const Turn& turn) { return mapped(turn.first, number); });
}

Stream build(LocalEnvironment& env, const Node& node, const std::vector<Stream>& streams) {
  const Stream& in = streams[node.inputs[0]];
  const uint64_t number = node.number;
  const auto filter = [number](const uint64_t& x) { return passes(x, number); };
  const auto expand = [number](const uint64_t& x, auto& emit) {
    for (uint64_t i = 0; i < copies(x, number); ++i) emit(x + i);
  };
  switch (node.op) {
    case Op::map: {
      const Mapper mapper{.number = number, .on_throw = node.on_throw};
      if (node.on_throw == OnThrow::skip) return in_replicas(in.map(mapper).on_error(skip), node.replicas);
      if (node.on_throw == OnThrow::retry) {
        return in_replicas(in.map(mapper).on_error(retry(1, Duration::zero())), node.replicas);
      }
      return in_replicas(in.map(mapper), node.replicas);
    }
    case Op::filter:
      return in_replicas(in.filter(filter), node.replicas);
    case Op::flat_map:
      return in_replicas(in.flat_map<uint64_t>(expand), node.replicas);
    case Op::fused:
      return in.flat_map<uint64_t>(expand).filter(filter).map(Mapper{.number = number});
    case Op::in_turn:
      return in.round_robin().parallelism(std::max(node.replicas, 1)).map(Mapper{.number = number});
    case Op::unite:
      return in.union_with(streams[node.inputs[1]]);
    case Op::by_key:
      return in.key_by([number](const uint64_t& x) { return key_of(x, number); })
          .parallelism(std::max(node.replicas, 1))
          .reduce(uint64_t{0}, [](uint64_t& sum, const uint64_t& x) { sum += x; })
          .map([](const std::pair<uint64_t, uint64_t>& one) { return from_sum(one.first, one.second); });
    case Op::take:
      return in.take(number);
    case Op::comap:
      return in_replicas(in.connect(streams[node.inputs[1]])
                             .comap([number](uint64_t x) { return mapped(x, number); },
                                    [number](uint64_t x) { return mapped(x, number + 1); }),
                         node.replicas);
    case Op::join: {
      const auto key = [number](const uint64_t& x) { return key_of(x, number); };
      return in_replicas(
          in.filter(joins).key_by(key).join_all(streams[node.inputs[1]].filter(joins).key_by(key), pair_of),
          node.replicas);
    }
    case Op::letters: {
      auto bad = env.dead_letters<uint64_t>("bad");
      Stream good =
          in_replicas(in.map(Mapper{.number = number, .on_throw = OnThrow::skip}).on_error(dead_letter(bad)),
                      node.replicas);
      return good.union_with(
          bad.map([](const DeadLetter<uint64_t>& letter) { return buried(letter.record); }));
    }
    case Op::ordered:
      return in.map([](uint64_t x) { return x; })
          .parallelism(1)
          .map(Mapper{.number = number, .on_throw = OnThrow::skip})
          .on_error(skip)
          .parallelism(std::max(node.replicas, 1))
          .ordered();
    case Op::async:
      return in_replicas(
          in.async_map([number](const uint64_t& x) { return mapped(x, number); },
                       {.in_flight = static_cast<int>(number % 5 + 1), .ordered = number % 2 == 0}),
          node.replicas);
    case Op::service: {
      const auto handle = env.register_service<Service>("service " + std::to_string(streams.size()));
      return in_replicas(
          in.map([=](uint64_t x, Context& c) { return c.call(handle, &Service::map, x, number); }),
          node.replicas);
    }
    case Op::cycle:
      return build_cycle(env, node, in);
    case Op::process:
      return in_replicas(
          in.key_by([number](const uint64_t& x) {
              return key_of(x, number);
            }).process<uint64_t, uint64_t>([](const uint64_t& x, Keyed<uint64_t>& count, auto& emit) {
            if (++*count % 2 == 0) emit(x);
          }),
          node.replicas);
    case Op::source:
    case Op::batches:
      break;
  }
  std::abort();
}

// ---- the model

struct Modelled {
  std::vector<uint64_t> records;
  bool any_of_them = false;  // which ones is a matter of luck
  bool fails = false;
};

std::vector<uint64_t> model_join(const Node& node, const std::vector<Modelled>& of) {
  std::map<uint64_t, std::vector<uint64_t>> right;
  for (const uint64_t x : of[node.inputs[1]].records) {
    if (joins(x)) right[key_of(x, node.number)].push_back(x);
  }
  std::vector<uint64_t> pairs;
  for (const uint64_t x : of[node.inputs[0]].records) {
    if (!joins(x)) continue;
    for (const uint64_t y : right[key_of(x, node.number)]) pairs.push_back(pair_of(x, y));
  }
  return pairs;
}

Modelled model(const Node& node, const std::vector<Modelled>& of, bool finishes) {
  Modelled out;
  bool second = false;
  for (const std::size_t input : node.inputs) {
    out.any_of_them = out.any_of_them || of[input].any_of_them;
    for (const uint64_t x : of[input].records) {
      switch (node.op) {
        case Op::map:
          if (is_bad(x) && node.on_throw == OnThrow::fail) out.fails = true;
          if (is_bad(x) && (node.on_throw == OnThrow::skip || node.on_throw == OnThrow::fail)) continue;
          out.records.push_back(mapped(x, node.number));
          break;
        case Op::filter:
          if (passes(x, node.number)) out.records.push_back(x);
          break;
        case Op::flat_map:
          for (uint64_t i = 0; i < copies(x, node.number); ++i) out.records.push_back(x + i);
          break;
        case Op::fused:
          for (uint64_t i = 0; i < copies(x, node.number); ++i) {
            if (passes(x + i, node.number)) out.records.push_back(mapped(x + i, node.number));
          }
          break;
        case Op::ordered:
          if (!is_bad(x)) out.records.push_back(mapped(x, node.number));
          break;
        case Op::letters:
          out.records.push_back(is_bad(x) ? buried(x) : mapped(x, node.number));
          break;
        case Op::comap:
          out.records.push_back(mapped(x, node.number + (second ? 1 : 0)));
          break;
        case Op::in_turn:
        case Op::async:
        case Op::service:
        case Op::cycle:
          out.records.push_back(mapped(x, node.number));
          break;
        default:
          out.records.push_back(x);
      }
    }
    second = true;
  }
  if (node.op == Op::join) out.records = model_join(node, of);
  // Which of a key's records is its second depends on the order in which they come.
  if (node.op == Op::process) out.any_of_them = true;
  if (node.op == Op::take && out.records.size() > node.number) {
    out.records.resize(node.number);
    out.any_of_them = true;
  }
  if (node.op == Op::by_key) {
    std::map<uint64_t, uint64_t> sums;
    for (const uint64_t x : out.records) sums[key_of(x, node.number)] += x;
    out.records.clear();
    for (const auto& [key, sum] : sums) out.records.push_back(from_sum(key, sum));
    // Those that had come to their end before a stop have finished.
    if (!finishes) out.any_of_them = true;
  }
  return out;
}

// ---- one graph

struct Played {
  PipelineReport report;
  std::vector<Modelled> expected;
  std::map<std::size_t, std::shared_ptr<Tally>> sinks;
};

void end(Pipeline& pipeline, const Plan& plan) {
  if (plan.end == End::completes) return;
  std::this_thread::sleep_for(plan.after);
  if (plan.end == End::drain) pipeline.drain();
  if (plan.end == End::stop) pipeline.stop();
  if (plan.end == End::cancel) pipeline.cancel();
}

Played play(const Plan& plan) {
  Played played;
  LocalEnvironment env("graph");
  std::vector<Stream> streams;
  std::vector<Source> sources(plan.nodes.size());
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    const Node& node = plan.nodes[i];
    sources[i] = {.seed = i + 1, .count = node.number};
    if (node.op == Op::source) {
      streams.emplace_back(env.from_source(OneByOne{sources[i]}));
    } else if (node.op == Op::batches) {
      streams.emplace_back(env.from_source(InBatches{sources[i]}));
    } else {
      streams.push_back(build(env, node, streams));
    }
  }
  std::vector<bool> used(plan.nodes.size());
  for (const Node& node : plan.nodes) {
    for (const std::size_t input : node.inputs) used[input] = true;
  }
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    if (used[i] && i % 3 != 0) continue;
    auto tally = played.sinks[i] = std::make_shared<Tally>();
    streams[i].sink([tally](const uint64_t& x) { tally->add(x); });
  }
  {
    Pipeline pipeline = env.submit({.grace = 60s});
    end(pipeline, plan);
    if (!pipeline.wait(60s)) {
      ADD_FAILURE() << "it does not end";
      std::abort();  // and could not be left
    }
    pipeline.stop();
    played.report = pipeline.report();
  }
  const bool finishes = played.report.outcome != Outcome::stopped;
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    const Node& node = plan.nodes[i];
    Modelled one;
    if (node.inputs.empty()) {
      for (uint64_t n = 0; n < *sources[i].given; ++n) one.records.push_back(Source::record(i + 1, n));
    } else {
      one = model(node, played.expected, finishes);
    }
    played.expected.push_back(std::move(one));
  }
  return played;
}

void check(uint64_t seed) {
  SCOPED_TRACE("again: EBB_GRAPH=" + std::to_string(seed) + " flow_graphs_test");
  const Plan plan = plan_of(seed);
  const Played played = play(plan);
  const PipelineReport& report = played.report;
  EXPECT_FALSE(report.unbalanced) << report.imbalance() << report;
  bool fails = false;
  for (const Modelled& one : played.expected) fails = fails || one.fails;
  if (plan.end == End::cancel) return;
  if (fails) {
    // It may have been stopped before it came to that.
    EXPECT_TRUE(report.outcome == Outcome::failed || plan.end != End::completes) << report;
    return;
  }
  EXPECT_TRUE(report.ok) << report;
  for (const auto& [i, tally] : played.sinks) {
    const Modelled& expected = played.expected[i];
    if (expected.any_of_them) continue;
    uint64_t sum = 0;
    for (const uint64_t x : expected.records) sum += flow::mix(x);
    EXPECT_EQ(tally->count, expected.records.size()) << "behind node " << i << '\n' << report;
    EXPECT_EQ(tally->sum, sum) << "behind node " << i;
  }
}

uint64_t number_in(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(Graphs, LoseNothingAndDoubleNothing) {
  if (const uint64_t seed = number_in("EBB_GRAPH", 0); seed != 0) return check(seed);
  const uint64_t graphs = number_in("EBB_GRAPHS", 500);
  for (uint64_t seed = 1; seed <= graphs && !HasFailure(); ++seed) check(seed);
}

}  // namespace
}  // namespace ebb
