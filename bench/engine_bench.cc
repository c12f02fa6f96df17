// P4: the engine alone. What submitting, dispatching and cancelling cost with a million queued jobs against a
// thousand, and how many bytes a queued job takes.
// The first line is what one job costs the engine over its life; the three below say where that comes from.
// What a million adds is cache misses (the id's slot, the job, its place in the order), about a tenth of a
// microsecond each: it shows where the operation itself costs less than that.
//
//   engine_bench --p4             one JSON object a line, as bench/run prints them
//   engine_bench [--benchmark_…]  Google Benchmark, for profiling a single operation

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <random>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ebb/engine/engine.h"

namespace ebb::engine {
namespace {

constexpr std::int64_t kFew = 1'000;
constexpr std::int64_t kMany = 1'000'000;
constexpr int kRounds = 400;

Machine machine() {
  Machine machine;
  for (int i = 0; i < 8; ++i) machine.gpus.push_back({i, i / 4, std::vector<int>(8, 1)});
  for (int i = 0; i < 100; ++i) machine.ports.push_back(38000 + i);
  machine.memory_bytes = std::int64_t{256} << 30;
  return machine;
}

/// An engine whose GPUs are all leased and whose queue has `size` jobs, of mixed demands, users and
/// priorities; every operation leaves it so.
class Load {
 public:
  explicit Load(std::int64_t size)
      : engine_(machine(), {256, 10'000'000, 10'000'000, std::chrono::hours(1)}) {
    (void)engine_.apply(RestoreDone{}, now());
    while (engine_.queued_count() < size) submit();
  }

  void submit() {
    JobInfo info;
    info.seq = ++seq_;
    // Multiplication by an odd number permutes 32-bit numbers: unique, and spread as random ids are.
    info.id = JobId(static_cast<std::uint32_t>(seq_) * 2'654'435'761U);
    info.user = kUsers[random_() % kUsers.size()];
    info.priority = static_cast<int>(random_() % 3);
    info.demand.gpus = 1 << (random_() % 4);
    info.demand.ports = static_cast<int>(random_() % 2);
    info.demand.memory_bytes = std::int64_t{1} << (30 + random_() % 4);
    info.grace = std::chrono::seconds(10);
    answer(engine_.apply(Submitted{std::move(info)}, now()));
  }
  /// The jobs that were submitted since the last call can be chosen.
  void remember() {
    for (; remembered_ < seq_; ++remembered_) {
      const JobId id(static_cast<std::uint32_t>(remembered_ + 1) * 2'654'435'761U);
      if (!engine_.position(id)) continue;
      places_.emplace(id, queued_.size());
      queued_.push_back(id);
    }
  }
  /// Random queued jobs, chosen without touching them in the engine: that would warm the cache.
  [[nodiscard]] std::vector<JobId> choose(int count) {
    std::vector<JobId> chosen;
    for (int i = 0; i < count; ++i) {
      chosen.push_back(queued_[random_() % queued_.size()]);
      forget(chosen.back());
    }
    return chosen;
  }
  void cancel(JobId id) {
    benchmark::DoNotOptimize(engine_.apply(
        StopRequested{id, {model::StopKind::cancelled, std::nullopt, std::nullopt}, std::nullopt}, now()));
  }
  /// The oldest running job ends, is released, and what follows it starts.
  void end_one() {
    const AttemptId attempt = running_.front().attempt;
    const Leases leases = std::move(running_.front().leases);
    running_.erase(running_.begin());
    (void)engine_.apply(Ended{attempt, {0, std::nullopt}, {}, std::nullopt}, now());
    Released released{attempt, {}};
    released.report.job = attempt.job;
    released.report.attempt = 1;
    const auto add = [&](model::ReleaseKind kind, int id) {
      model::ReleaseRecord& record = released.report.releases.emplace_back();
      record.kind = kind;
      record.target = std::to_string(id);
    };
    for (const int gpu : leases.gpus) add(model::ReleaseKind::gpu, gpu);
    for (const int port : leases.ports) add(model::ReleaseKind::port, port);
    answer(engine_.apply(released, now()));
  }
  /// Brings the queue back to its size.
  void refill(std::int64_t size) {
    while (engine_.queued_count() < size) submit();
    for (const JobId id : dispatched_) forget(id);
    dispatched_.clear();
    remember();
  }

  [[nodiscard]] std::int64_t started() const { return started_; }

 private:
  static constexpr std::array<std::string_view, 5> kUsers{"alice", "bob", "carol", "dave", "erin"};
  struct RunningJob {
    AttemptId attempt;
    Leases leases;
  };

  void forget(JobId id) {
    const auto it = places_.find(id);
    if (it == places_.end()) return;
    const std::size_t place = it->second;
    places_.erase(it);
    queued_[place] = queued_.back();
    queued_.pop_back();
    if (place < queued_.size()) places_[queued_[place]] = place;
  }

  [[nodiscard]] Instant now() {
    boot_ += std::chrono::microseconds(1);
    return {boot_, WallTime(boot_.time_since_epoch())};
  }
  void answer(const Actions& actions) {
    for (const Act& act : actions.now) {
      const auto* acquire = std::get_if<act::Acquire>(&act);
      if (!acquire) continue;
      (void)engine_.apply(Acquired{acquire->attempt}, now());
      (void)engine_.apply(Started{acquire->attempt, 1, std::nullopt}, now());
      running_.push_back({acquire->attempt, acquire->leases});
      ++started_;
      dispatched_.push_back(acquire->attempt.job);
    }
  }

  Engine engine_;
  std::mt19937_64 random_{1};
  BootTime boot_{};
  std::int64_t seq_ = 0;
  std::int64_t started_ = 0;
  std::int64_t remembered_ = 0;
  std::vector<JobId> queued_;
  std::unordered_map<JobId, std::size_t> places_;
  std::vector<JobId> dispatched_;
  std::vector<RunningJob> running_;
};

template <typename F>
double nanoseconds(F&& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

struct Costs {
  std::vector<double> submit;
  std::vector<double> dispatch;
  std::vector<double> cancel;
};

void measure(Load& load, std::int64_t size, Costs& costs) {
  constexpr int kBatch = 200;
  costs.submit.push_back(nanoseconds([&] {
                           for (int i = 0; i < kBatch; ++i) load.submit();
                         }) /
                         kBatch);
  load.refill(0);
  const std::vector<JobId> chosen = load.choose(kBatch);
  costs.cancel.push_back(nanoseconds([&] {
                           for (const JobId id : chosen) load.cancel(id);
                         }) /
                         kBatch);
  const std::int64_t before = load.started();
  const double took = nanoseconds([&] {
    for (int i = 0; i < kBatch / 4; ++i) load.end_one();
  });
  costs.dispatch.push_back(took / static_cast<double>(std::max<std::int64_t>(1, load.started() - before)));
  load.refill(size);
}

std::size_t heap_in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

int print_p4() {
  const std::size_t before = heap_in_use();
  Load many(kMany);
  const double bytes = static_cast<double>(heap_in_use() - before) / static_cast<double>(kMany);
  many.refill(kMany);
  Load few(kFew);
  few.refill(kFew);
  Costs with_few;
  Costs with_many;
  for (int i = 0; i < kRounds; ++i) {  // in turn, so that both see the same machine
    measure(few, kFew, with_few);
    measure(many, kMany, with_many);
  }
  const auto line = [](std::string_view what, const std::vector<double>& big,
                       const std::vector<double>& small) {
    const double ours = median(big);
    const double base = median(small);
    fmt::print(R"({{"id":"P4","what":"engine: {} with 1,000,000 queued","ebb":{:.0f},"unit":"ns",)"
               R"("limit":{:.0f},"ratio":{:.2f},"peers":{{}},"runs":{}}})"
               "\n",
               what, ours, base, ours / base, kRounds);
  };
  const auto sum = [](const Costs& costs) {
    std::vector<double> all;
    all.reserve(costs.submit.size());
    for (std::size_t i = 0; i < costs.submit.size(); ++i)
      all.push_back(costs.submit[i] + costs.dispatch[i] + costs.cancel[i]);
    return all;
  };
  line("submit, dispatch and cancel", sum(with_many), sum(with_few));
  line("submit", with_many.submit, with_few.submit);
  line("dispatch (one ends, the next starts)", with_many.dispatch, with_few.dispatch);
  line("cancel", with_many.cancel, with_few.cancel);
  fmt::print(R"({{"id":"P4","what":"engine: memory for each queued job","ebb":{:.0f},"unit":"bytes",)"
             R"("limit":1024,"ratio":{:.2f},"peers":{{}},"runs":1}})"
             "\n",
             bytes, bytes / 1024);
  return 0;
}

void submit_and_cancel(benchmark::State& state) {
  Load load(state.range(0));
  for (auto _ : state) {
    load.submit();
    state.PauseTiming();
    load.refill(0);
    const JobId id = load.choose(1).front();
    state.ResumeTiming();
    load.cancel(id);
  }
}
BENCHMARK(submit_and_cancel)->Arg(kFew)->Arg(kMany);

void dispatch(benchmark::State& state) {
  Load load(state.range(0));
  for (auto _ : state) {
    load.end_one();
    load.refill(state.range(0));
  }
}
BENCHMARK(dispatch)->Arg(kFew)->Arg(kMany);

}  // namespace
}  // namespace ebb::engine

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--p4") return ebb::engine::print_p4();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
