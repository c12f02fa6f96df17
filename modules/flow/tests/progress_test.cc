// What a pipeline tells of itself: how far it is, how fast, how long records take.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <sstream>
#include <thread>

#include "ebb/flow/runtime/histogram.h"
#include "ebb/flow/runtime/history.h"
#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

// Gives records, slowly, until it is told to end.
auto endless() {
  return [next = 0](const std::stop_token&) mutable -> std::optional<int> {
    std::this_thread::yield();
    return next++;
  };
}

TEST(Histograms, FindQuantilesWithinSixPercent) {
  flow::Histogram histogram;
  flow::Quantiles none;
  none.add(histogram);
  EXPECT_EQ(none.samples(), 0u);
  EXPECT_EQ(none.at(0.99), 0);
  for (int i = 1; i <= 100'000; ++i) histogram.add(std::chrono::nanoseconds(100 * i));
  flow::Quantiles all;
  all.add(histogram);
  EXPECT_EQ(all.samples(), 100'000u);
  EXPECT_NEAR(all.at(0.5), 5000, 5000 * 0.0625);
  EXPECT_NEAR(all.at(0.95), 9500, 9500 * 0.0625);
  EXPECT_NEAR(all.at(0.99), 9900, 9900 * 0.0625);
  all.add(histogram);
  EXPECT_NEAR(all.at(0.5), 5000, 5000 * 0.0625);
}

TEST(Histograms, TakeTheShortestAndTheLongest) {
  for (const auto& [time, us] : {std::pair<Duration, double>{0s, 0}, {1us, 1}, {1s, 1e6}, {18min, 1080e6}}) {
    flow::Histogram histogram;
    histogram.add(time);
    flow::Quantiles one;
    one.add(histogram);
    EXPECT_NEAR(one.at(0.5), us, us * 0.0625);
  }
  flow::Histogram histogram;
  histogram.add(std::chrono::hours(1000));
  histogram.add(std::chrono::nanoseconds(-5));
  flow::Quantiles both;
  both.add(histogram);
  EXPECT_EQ(both.samples(), 2u);
  EXPECT_EQ(both.at(0.1), 0);
  EXPECT_GT(both.at(0.9), 1000e6);
}

TEST(Rates, AreOfTheTimeThatWasAskedFor) {
  flow::History history;
  const BootTime begun{1h};
  // Ten records a second for two hours, then nothing for two minutes.
  for (int second = 0; second <= 7200; second += 5) {
    history.note(begun + std::chrono::seconds(second), std::uint64_t{10} * static_cast<unsigned>(second));
    if (second == 30) {
      EXPECT_NEAR(history.rate(begun + 30s, 300, 60min), 10, 0.01);
    }
    if (second == 7200) {
      for (const Duration over : {Duration(1min), Duration(5min), Duration(60min)}) {
        EXPECT_NEAR(history.rate(begun + 7200s, 72'000, over), 10, 0.3);
      }
    }
  }
  const BootTime now = begun + 7320s;
  EXPECT_EQ(history.rate(now, 72'000, 1min), 0);
  EXPECT_NEAR(history.rate(now, 72'000, 5min), 6, 0.3);
  EXPECT_NEAR(history.rate(now, 72'000, 60min), 10 * 58 / 60.0, 0.3);
}

struct Slow {
  void work() { std::this_thread::sleep_for(2ms); }  // it is this time that is measured
};

TEST(Reports, SayHowLongRecordsAndCallsTakeAndHowMany) {
  LocalEnvironment env("timed");
  auto slow = env.register_service<Slow>("slow");
  env.from_collection(numbers(200'000))
      .map([](int x) { return x + 1; })
      .name("quick")
      .filter([](int x) { return x % 4000 == 0; })
      .sink([=](int x, Context& c) {
        if (x % 8000 == 0) {
          (void)c.call_async(slow, &Slow::work);
        } else {
          c.call(slow, &Slow::work);
        }
      })
      .parallelism(2)
      .name("slow");
  const PipelineReport report = run(env);
  const OperatorReport& quick = op(report, "quick");
  EXPECT_GT(quick.latency.samples, 0u);
  EXPECT_LE(quick.latency.p50_us, quick.latency.p95_us);
  EXPECT_LE(quick.latency.p95_us, quick.latency.p99_us);
  EXPECT_LT(quick.latency.p50_us, 1000);  // the wait for room behind it is not in it
  EXPECT_GT(quick.rates.over_1_min, 0);
  EXPECT_NEAR(quick.rates.over_1_min, quick.rates.over_60_min, quick.rates.over_1_min * 0.01);
  EXPECT_LE(quick.rates.over_1_min, 200'000 / 0.020);  // the calls of either sink take more than 20 ms
  EXPECT_GT(op(report, "slow").latency.p99_us, 1800);  // calls are in it
  EXPECT_EQ(report.services[0].calls, 50u);
  EXPECT_GE(report.services[0].latency.samples, 25u);  // those on threads of the pool are all timed
  EXPECT_GT(report.services[0].latency.p50_us, 1800);
}

TEST(Reports, AreATableWithARowForEachOperatorAndASpeedForEachLoop) {
  PipelineReport report;
  report.name = "table";
  report.ended = true;
  report.took = 2s;
  const auto add = [&](const char* name, const char* kind, std::uint64_t processed, std::uint64_t skipped) {
    OperatorReport& op = report.operators.emplace_back();
    op.name = name;
    op.kind = kind;
    op.in = processed + skipped;
    op.processed = op.emitted = processed;
    op.skipped = skipped;
    op.latency = {.samples = 5, .p50_us = 0.031, .p95_us = 2, .p99_us = 1500};
  };
  add("lines", "source", 1000, 0);
  add("parse", "map", 990, 10);
  report.stages = {{.operators = {"lines", "parse"}, .replicas = 1, .busy = 500ms}};
  std::ostringstream text;
  text << report;
  EXPECT_EQ(text.str(),
            "pipeline table: completed (2 s)\n"
            "  operator  kind    replicas    in  processed  skipped  emitted    p50     p99  busy\n"
            "  lines     source         1  1000       1000        0     1000  31 ns  1.5 ms   25%\n"
            "  parse     map            1  1000        990       10      990\n");
}

TEST(Reports, HaveTheFieldsOfTheContractInTheirJson) {
  LocalEnvironment env("fields");
  (void)env.register_service<Slow>("slow");
  env.from_collection(numbers(10)).map([](int x) { return x; }).parallelism(2).sink([](int) {});
  const boost::json::object report = boost::json::parse(run(env).json()).as_object();
  const auto has = [](const boost::json::value& of, std::initializer_list<const char*> fields) {
    for (const char* field : fields) EXPECT_TRUE(of.as_object().contains(field)) << field;
  };
  has(report, {"name", "ok", "ended", "outcome", "failed_at", "error", "took_ms", "operators", "edges",
               "stages", "services", "releases"});
  has(report.at("operators").at(0),
      {"name", "kind", "replicas", "in", "processed", "filtered", "skipped", "dead_lettered", "failed",
       "late", "emitted", "per_s", "p50_us", "p95_us", "p99_us"});
  has(report.at("operators").at(0).at("per_s"), {"over_1_min", "over_5_min", "over_60_min"});
  has(report.at("edges").at(0),
      {"from", "to", "sent", "received", "discarded", "discarded_by", "most_waiting", "capacity"});
  EXPECT_TRUE(report.at("edges").at(0).at("discarded").is_number());
  has(report.at("edges").at(0).at("discarded_by"), {"cancel", "consumer_ended", "failure"});
  has(report.at("stages").at(0), {"operators", "replicas", "busy_ms", "blocked_ms", "waiting_ms"});
  has(report.at("services").at(0), {"name", "initialized", "running", "cleanup_called", "cleanup_completed",
                                    "calls", "timeouts", "p50_us", "p95_us", "p99_us", "error", "pipeline"});
  has(report.at("releases").at(0), {"kind", "target", "action", "outcome", "verified_by", "took_ms"});
  EXPECT_TRUE(report.at("services").at(0).at("p50_us").is_null()) << "nobody has called it";
}

TEST(ProgressOfPipelines, IsToldByACall) {
  LocalEnvironment env("called");
  env.from_source(endless()).sink([](int) {}).name("end");
  std::atomic<int> calls{0};
  Pipeline pipeline = env.submit({.progress = [&](const PipelineReport& report) {
    EXPECT_FALSE(report.ended);
    EXPECT_GT(op(report, "end").in, 0u);
    if (++calls == 2) throw std::runtime_error("harms nobody");
  }});
  const BootTime deadline = BootClock::now() + 20s;
  while (calls < 3 && BootClock::now() < deadline) std::this_thread::yield();
  pipeline.stop();
  EXPECT_GE(calls, 3);
}

// Runs a pipeline in a child whose standard error this is, until it has written `until` or, where that is
// empty, for a while; what it has written.
std::string errors_of_child(int ours, int theirs, const SubmitOptions& options, const char* until) {
  int tell[2];
  EXPECT_EQ(::pipe2(tell, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(theirs, STDERR_FILENO);
    ::close(ours);
    ::close(tell[1]);
    bool ok = false;
    {
      LocalEnvironment env("shown");
      (void)env.register_service<Slow>("slow");
      env.from_source(endless()).sink([](int) {});
      Pipeline pipeline = env.submit(options);
      char byte = 0;
      (void)pipeline.wait(50ms);
      const ssize_t size = ::read(tell[0], &byte, 1);
      pipeline.stop();
      ok = size == 0 && pipeline.report().ok;
    }
    ::_exit(ok ? 0 : 1);
  }
  ::close(theirs);
  ::close(tell[0]);
  if (*until == '\0') {
    ::close(tell[1]);
    tell[1] = -1;
  }
  std::string all;
  char buffer[4096];
  ssize_t size = 0;
  while ((size = ::read(ours, buffer, sizeof buffer)) > 0) {
    all.append(buffer, static_cast<std::size_t>(size));
    if (tell[1] >= 0 && all.find(until) != std::string::npos) {
      ::close(tell[1]);
      tell[1] = -1;
    }
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ::close(ours);
  return all;
}

TEST(ProgressOfPipelines, IsALineOnATerminalThatIsGoneAtTheEnd) {
  for (const bool by_environment : {false, true}) {
    const int ours = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_GE(ours, 0);
    ASSERT_EQ(::grantpt(ours), 0);
    ASSERT_EQ(::unlockpt(ours), 0);
    const int theirs = ::open(::ptsname(ours), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_GE(theirs, 0);
    SubmitOptions options;
    if (by_environment) {
      ::setenv("EBB_PROGRESS", "1", 1);
    } else {
      options.progress = true;
    }
    const std::string all = errors_of_child(ours, theirs, options, "1 of 1 services up");
    ::unsetenv("EBB_PROGRESS");
    EXPECT_THAT(all, HasSubstr("\r\x1b[Kebb: shown "));
    EXPECT_THAT(all, HasSubstr("/s), "));
    EXPECT_THAT(all, EndsWith("\r\x1b[K"));
    EXPECT_THAT(all, Not(HasSubstr("\n")));
  }
}

TEST(ProgressOfPipelines, ElsewhereIsThereWhenItIsAskedForOnly) {
  for (const bool asked : {true, false}) {
    int pipe[2];
    ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    SubmitOptions options;
    if (asked) {
      options.progress = true;
      options.watchdog = 5ms;
    }
    ::setenv("EBB_PROGRESS", "1", 1);
    const std::string all = errors_of_child(pipe[0], pipe[1], options, asked ? "out" : "");
    ::unsetenv("EBB_PROGRESS");
    if (asked) {
      EXPECT_THAT(all, HasSubstr("ebb: shown "));
      EXPECT_THAT(all, EndsWith("\n"));
      EXPECT_THAT(all, Not(HasSubstr("\x1b")));
    } else {
      EXPECT_EQ(all, "");
    }
  }
}

}  // namespace
}  // namespace ebb
