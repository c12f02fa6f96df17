#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Said = std::shared_ptr<std::vector<std::string>>;

struct Talker {
  Talker(Said to, std::string is) : said(std::move(to)), name(std::move(is)) { say("made"); }
  ~Talker() { say("destroyed"); }
  Talker(const Talker&) = delete;
  Talker& operator=(const Talker&) = delete;
  void setup() { say("setup"); }
  void start() { say("start"); }
  void stop() { say("stop"); }
  void cleanup() { say("cleanup"); }
  int twice(int x) { return 2 * x; }
  void say(const std::string& what) { said->push_back(name + " " + what); }
  Said said;
  std::string name;
};

const ServiceReport& service_of(const PipelineReport& report, const std::string& name) {
  for (const ServiceReport& one : report.services) {
    if (one.name == name) return one;
  }
  ADD_FAILURE() << "there is no service '" << name << "'";
  static const ServiceReport none;
  return none;
}

TEST(Services, LiveAsLongAsThePipelineAndEndInReverseOrder) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("services");
  auto a = env.register_service<Talker>("a", said, std::string("a"));
  auto b = env.register_service<Talker>("b", said, std::string("b"));
  auto all =
      env.from_collection(numbers(3))
          .map([=](int x, Context& c) { return c.call(b, &Talker::twice, c.call(a, &Talker::twice, x)); })
          .collect();
  const PipelineReport report = run(env);
  EXPECT_THAT(all.get(), ElementsAre(0, 4, 8));
  EXPECT_THAT(*said, ElementsAre("a made", "a setup", "a start", "b made", "b setup", "b start", "b stop",
                                 "b cleanup", "b destroyed", "a stop", "a cleanup", "a destroyed"));
  // The check of the system that this replaces.
  const ServiceReport& life = service_of(report, "a");
  EXPECT_TRUE(life.initialized);
  EXPECT_TRUE(life.cleanup_called);
  EXPECT_TRUE(life.cleanup_completed);
  EXPECT_FALSE(life.running);
  EXPECT_EQ(life.calls, 3u);
  ASSERT_EQ(report.releases.size(), 2u);
  EXPECT_EQ(report.releases[0].target, "b");
  EXPECT_EQ(report.releases[0].outcome, model::Outcome::released);
}

struct Broken {
  Broken() { throw std::runtime_error("no weights"); }
};

TEST(Services, AreMadeByAFunctionThatIsCalledWhenThePipelineStarts) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("factories");
  auto a = env.register_service_factory("a", [said] { return std::make_unique<Talker>(said, "a"); });
  auto b = env.register_service_factory<Talker>(service("b").concurrency(2),
                                                [said] { return std::make_unique<Talker>(said, "b"); });
  EXPECT_THAT(*said, ::testing::IsEmpty());
  auto all =
      env.from_collection(numbers(2))
          .map([=](int x, Context& c) { return c.call(b, &Talker::twice, c.call(a, &Talker::twice, x)); })
          .collect();
  run(env);
  EXPECT_THAT(all.get(), ElementsAre(0, 4));
  EXPECT_THAT(*said, ElementsAre("a made", "a setup", "a start", "b made", "b setup", "b start", "b stop",
                                 "b cleanup", "b destroyed", "a stop", "a cleanup", "a destroyed"));
}

TEST(PriorDataflow, Defect16AServiceWhoseConstructorThrowsFailsThePipeline) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("broken");
  (void)env.register_service<Talker>("good", said, std::string("good"));
  (void)env.register_service<Broken>("broken");
  int records = 0;
  env.from_collection(numbers(3)).sink([&](int) { ++records; });
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "broken");
  EXPECT_EQ(failed.error, "no weights");
  EXPECT_FALSE(service_of(failed, "broken").initialized);
  EXPECT_TRUE(service_of(failed, "good").cleanup_completed);
  EXPECT_EQ(records, 0);
}

TEST(PriorDataflow, Defect17NothingRunsAfterAStop) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("stop");
  (void)env.register_service<Talker>("a", said, std::string("a"));
  env.from_collection(numbers(3)).sink([](int) {});
  Pipeline pipeline = env.submit();
  EXPECT_TRUE(pipeline.wait(20s));
  EXPECT_TRUE(service_of(pipeline.report(), "a").running) << "until it is stopped";
  pipeline.stop();
  EXPECT_FALSE(service_of(pipeline.report(), "a").running);
  EXPECT_TRUE(service_of(pipeline.report(), "a").cleanup_completed);
  EXPECT_EQ(pipeline.report().outcome, Outcome::completed);
}

struct Crowd {
  explicit Crowd(std::shared_ptr<std::atomic<int>> that) : most(std::move(that)) {}
  void enter() {
    const int now = ++inside;
    int seen = most->load();
    while (now > seen && !most->compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --inside;
  }
  std::atomic<int> inside{0};
  std::shared_ptr<std::atomic<int>> most;
};

TEST(Services, LetInAsManyCallsAsTheyHaveSlots) {
  for (const int slots : {1, 2}) {
    auto most = std::make_shared<std::atomic<int>>(0);
    LocalEnvironment env("slots");
    auto crowd = env.register_service<Crowd>(service("crowd").concurrency(slots), most);
    env.from_collection(numbers(2000))
        .map([=](int x, Context& c) {
          c.call(crowd, &Crowd::enter);
          return x;
        })
        .parallelism(4)
        .sink([](int) {});
    const PipelineReport report = run(env);
    EXPECT_LE(*most, slots);
    EXPECT_EQ(service_of(report, "crowd").calls, 2000u);
  }
}

struct Front {
  explicit Front(ServiceHandle<Talker> that) : back(std::move(that)) {}
  int ask(int x) { return back.call(&Talker::twice, x) + 1; }
  ServiceHandle<Talker> back;
};

TEST(Services, CallEachOther) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("calls");
  auto back = env.register_service<Talker>("back", said, std::string("back"));
  auto front = env.register_service<Front>("front", back);
  auto all = env.from_collection(numbers(2))
                 .map([=](int x, Context& c) { return c.call(front, &Front::ask, x); })
                 .collect();
  run(env);
  EXPECT_THAT(all.get(), ElementsAre(1, 3));
  EXPECT_THROW(front.call(&Front::ask, 1), ServiceStopped);
}

struct BadEnd {
  void stop() { throw std::runtime_error("cannot stop"); }
  void cleanup() {}
};

TEST(Services, GoOnEndingAfterOneThatFails) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("bad end");
  (void)env.register_service<Talker>("first", said, std::string("first"));
  (void)env.register_service<BadEnd>("bad");
  env.from_collection(numbers(1)).sink([](int) {});
  const PipelineReport failed = failure_of(env);
  EXPECT_THAT(failed.error, HasSubstr("service 'bad': stop(): cannot stop"));
  EXPECT_TRUE(service_of(failed, "first").cleanup_completed);
  EXPECT_EQ(failed.releases[0].outcome, model::Outcome::failed);
}

TEST(Services, AreNotCleanedWhereThePolicySaysSo) {
  const Said said = std::make_shared<std::vector<std::string>>();
  LocalEnvironment env("policy");
  (void)env.register_service<Talker>("a", said, std::string("a"));
  env.from_collection(numbers(1)).sink([](int) {});
  const PipelineReport report = env.submit({.autostop = true, .cleanup = Cleanup::Never});
  EXPECT_THAT(*said, ElementsAre("a made", "a setup", "a start", "a stop", "a destroyed"));
  EXPECT_THAT(*report.releases[0].action, HasSubstr("skipped by policy"));
}

struct Hangs {
  explicit Hangs(std::shared_ptr<std::promise<void>> that) : until(std::move(that)) {}
  void cleanup() { until->get_future().wait(); }
  std::shared_ptr<std::promise<void>> until;
};

TEST(Services, ThatHangInTheirCleanupAreLeftBehind) {
  const Said said = std::make_shared<std::vector<std::string>>();
  auto let_go = std::make_shared<std::promise<void>>();
  LocalEnvironment env("hangs");
  (void)env.register_service<Talker>("first", said, std::string("first"));
  (void)env.register_service<Hangs>(service("hangs").cleanup_timeout(20ms), let_go);
  env.from_collection(numbers(1)).sink([](int) {});
  const PipelineReport failed = failure_of(env, {.autostop = true, .when_stuck = WhenStuck::abandon});
  EXPECT_THAT(failed.error, HasSubstr("cleanup() did not come back"));
  EXPECT_FALSE(service_of(failed, "hangs").cleanup_completed);
  EXPECT_TRUE(service_of(failed, "first").cleanup_completed);
  let_go->set_value();
}

}  // namespace
}  // namespace ebb
