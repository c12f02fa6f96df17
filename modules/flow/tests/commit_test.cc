// commit() and abort(): what a function hears of the end of the whole pipeline.
#include <atomic>
#include <memory>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;

struct Heard {
  std::atomic<int> records{0}, commits{0}, aborts{0}, closes{0};
  std::atomic<bool> others_ended{false}, too_early{false};
};
struct Committing {
  std::shared_ptr<Heard> heard;
  bool commit_throws = false;
  void operator()(int) { ++heard->records; }
  void commit() {
    if (commit_throws) throw std::runtime_error("no room on the disk");
    if (!heard->others_ended) heard->too_early = true;
    ++heard->commits;
  }
  void abort() { ++heard->aborts; }
  void close() { ++heard->closes; }
};

TEST(Commit, ComesWhenEveryOtherOperatorHasEnded) {
  auto heard = std::make_shared<Heard>();
  LocalEnvironment env("commits");
  env.from_collection(numbers(10)).sink(Committing{heard});
  struct Last {
    std::shared_ptr<Heard> heard;
    void operator()(int) {}
    void finish() { heard->others_ended = true; }
  };
  env.from_collection(numbers(1000))
      .round_robin()
      .parallelism(2)
      .map([](int x) { return x; })
      .sink(Last{heard});
  run(env);
  EXPECT_EQ(heard->commits, 1);
  EXPECT_EQ(heard->aborts, 0);
  EXPECT_EQ(heard->closes, 1);
  EXPECT_FALSE(heard->too_early);
}

TEST(Commit, BecomesAnAbortWhenAnyOtherOperatorFails) {
  auto heard = std::make_shared<Heard>();
  LocalEnvironment env("aborts");
  env.from_collection(numbers(10)).sink(Committing{heard});
  env.from_source([heard]() -> std::optional<int> {
       while (heard->records < 10) std::this_thread::yield();  // the sink above has had everything
       throw std::runtime_error("broken");
     })
      .sink([](int) {});
  EXPECT_THROW((void)env.submit({.autostop = true}), PipelineError);
  EXPECT_EQ(heard->commits, 0);
  EXPECT_EQ(heard->aborts, 1);
  EXPECT_EQ(heard->closes, 1);
}

TEST(Commit, ThatThrowsFailsThePipelineThere) {
  auto heard = std::make_shared<Heard>();
  LocalEnvironment env("full");
  env.from_collection(numbers(10)).sink(Committing{heard, true}).name("file");
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "file");
  EXPECT_EQ(failed.error, "no room on the disk");
  EXPECT_EQ(heard->closes, 1);
}

TEST(Commit, ComesAtADrainAndAStopAndNotAtACancel) {
  for (const char* end : {"drain", "stop", "cancel"}) {
    auto heard = std::make_shared<Heard>();
    heard->others_ended = true;
    LocalEnvironment env(end);
    env.from_source([](const std::stop_token& stop) -> std::optional<int> {
         if (stop.stop_requested()) return std::nullopt;
         return 1;
       })
        .sink(Committing{heard});
    Pipeline pipeline = env.submit();
    while (heard->records == 0) std::this_thread::yield();
    if (end == std::string("drain")) pipeline.drain();
    if (end == std::string("stop")) pipeline.stop();
    if (end == std::string("cancel")) pipeline.cancel();
    EXPECT_EQ(heard->commits, end == std::string("cancel") ? 0 : 1) << end;
    EXPECT_EQ(heard->aborts, end == std::string("cancel") ? 1 : 0) << end;
  }
}

// What a source has read may be remembered when it has arrived: on its own thread, and on others.
TEST(Commit, OfASourceComesAfterThoseOfAllOperators) {
  struct Source {
    std::shared_ptr<Heard> heard;
    int next = 0;
    std::optional<int> operator()() { return next < 10 ? std::optional(next++) : std::nullopt; }
    void commit() {
      if (heard->commits != 4) heard->too_early = true;
      ++heard->closes;
    }
  };
  auto heard = std::make_shared<Heard>();
  heard->others_ended = true;
  LocalEnvironment env("commits");
  for (int i = 0; i < 2; ++i) {
    auto stream = env.from_source(Source{heard});
    stream.sink([heard](int) { ++heard->records; });
    stream.sink(Committing{heard});
    stream.map([](int x) { return x; }).round_robin().sink(Committing{heard});
  }
  run(env);
  EXPECT_EQ(heard->commits, 4);
  EXPECT_EQ(heard->closes, 6);
  EXPECT_FALSE(heard->too_early);
}

}  // namespace
}  // namespace ebb
