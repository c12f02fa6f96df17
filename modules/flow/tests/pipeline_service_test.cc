#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "scene.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Adder {
  explicit Adder(int that) : by(that) {}
  int add(int x) { return x + by; }
  void stop() { by = 0; }
  int by;
};

// Its requests are numbers; what it answers has been through a filter, two functions in replicas and a
// service of its own.
auto build = [](LocalEnvironment& inner, auto requests) {
  auto adder = inner.register_service<Adder>("adder", 1);
  return requests.filter([](int x) { return x >= 0; })
      .name("not negative")
      .map([](int x) {
        if (x == 13) throw std::out_of_range("thirteen");
        return std::to_string(x);
      })
      .name("text")
      .parallelism(3)
      .map([=](const std::string& text, Context& c) {
        return text + "+1=" + std::to_string(c.call(adder, &Adder::add, std::stoi(text)));
      })
      .name("sum");
};

Pipeline up(LocalEnvironment& env, SubmitOptions options = {}) {
  env.from_collection(numbers(1)).sink([](int) {});
  Pipeline pipeline = env.submit(std::move(options));
  EXPECT_TRUE(pipeline.wait(20s));
  return pipeline;
}

TEST(PipelineServices, AnswerEachCallerHisOwnRequest) {
  LocalEnvironment env("outer");
  auto sums = env.register_pipeline_service<int, std::string>("sums", build);
  auto all =
      env.from_collection(numbers(10)).map([=](int x, Context& c) { return c.call(sums, x); }).collect();
  const PipelineReport report = run(env);
  EXPECT_EQ(all.get().size(), 10u);
  EXPECT_EQ(all.get()[7], "7+1=8");
  ASSERT_EQ(report.services.size(), 1u);
  const ServiceReport& service = report.services[0];
  EXPECT_TRUE(service.initialized);
  EXPECT_TRUE(service.cleanup_called);
  EXPECT_TRUE(service.cleanup_completed);
  EXPECT_FALSE(service.running);
  EXPECT_EQ(service.calls, 10u);
  ASSERT_TRUE(service.pipeline);
  EXPECT_EQ(op(*service.pipeline, "text").in, 10u);
  EXPECT_EQ(service.pipeline->services.at(0).calls, 10u);
  EXPECT_EQ(service.pipeline->imbalance(), "");
  EXPECT_THAT(report.json(), HasSubstr(R"("pipeline":{"name":"sums")"));
  EXPECT_THROW((void)sums.call(1), ServiceStopped);
}

TEST(PipelineServices, HaveManyRequestsInFlight) {
  LocalEnvironment env("many");
  auto sums = env.register_pipeline_service<int, std::string>(service("sums").concurrency(100), build);
  Pipeline pipeline = up(env);
  std::vector<std::thread> callers;
  callers.reserve(4);
  std::atomic<int> right{0};
  for (int from = 0; from < 4; ++from) {
    callers.emplace_back([&, from] {
      std::vector<std::pair<int, Future<std::string>>> calls;
      for (int x = 1000 * from; x < 1000 * from + 1000; ++x) {
        if (x != 13) calls.emplace_back(x, sums.call_async(x));
      }
      for (auto& [x, call] : calls) {
        if (call.get() == std::to_string(x) + "+1=" + std::to_string(x + 1)) ++right;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(right, 3999);
  pipeline.stop();
  EXPECT_EQ(pipeline.report().services[0].pipeline->imbalance(), "");
}

TEST(PipelineServices, TellACallerWhatBecameOfHisRequest) {
  LocalEnvironment env("fates");
  auto sums = env.register_pipeline_service<int, std::string>("sums", build);
  auto none = env.register_pipeline_service<int, int>("none", [](LocalEnvironment&, auto requests) {
    return requests.round_robin()
        .template flat_map<int>([](int x, auto&& emit) {
          for (int i = 0; i < x; ++i) emit(i);
        })
        .name("expand")
        .filter([](int x) { return x != 1; });
  });
  Pipeline pipeline = up(env);
  // What a function threw, as from a method.
  EXPECT_THROW((void)sums.call(13), std::out_of_range);
  try {
    (void)sums.call(-1);
    FAIL() << "it was answered";
  } catch (const Unanswered& error) {
    EXPECT_STREQ(error.what(), "service 'sums' gave no answer: it was filtered out by 'not negative'");
  }
  try {
    (void)none.call(0);
    FAIL() << "it was answered";
  } catch (const Unanswered& error) {
    EXPECT_STREQ(error.what(), "service 'none' gave no answer: it was given no answer by 'expand'");
  }
  EXPECT_EQ(none.call(5), 0);  // the first one
  EXPECT_EQ(sums.call(4), "4+1=5");
  pipeline.stop();
  const PipelineReport report = *pipeline.report().services[0].pipeline;
  EXPECT_EQ(op(report, "text").skipped, 1u);
  EXPECT_EQ(op(report, "not negative").filtered, 1u);
}

TEST(PipelineServices, WithAPolicyThatFailsEndAndTellEveryCaller) {
  LocalEnvironment env("fails");
  auto entered = std::make_shared<std::promise<void>>();
  auto picky = env.register_pipeline_service<int, int>("picky", [=](LocalEnvironment&, auto requests) {
    return requests
        .map([=](int x, Context& c) {
          if (x == 1) {
            entered->set_value();
            std::mutex mutex;
            std::unique_lock lock(mutex);
            std::condition_variable_any never;
            never.wait(lock, c.stop_token(), [] { return false; });
          }
          if (x == 2) throw std::runtime_error("two");
          return x;
        })
        .on_error(fail)
        .name("picky")
        .parallelism(2);
  });
  env.from_collection(numbers(1)).sink([](int) {});
  Pipeline pipeline = env.submit();
  EXPECT_TRUE(pipeline.wait(20s));
  auto first = picky.call_async(1);
  entered->get_future().wait();
  auto second = picky.call_async(2);
  EXPECT_THAT([&] { (void)second.get(); }, ThrowsMessage<std::runtime_error>("two"));
  const auto failed = HasSubstr("its pipeline failed at 'picky': two");
  EXPECT_THAT([&] { (void)first.get(); }, ThrowsMessage<Unanswered>(failed));
  EXPECT_THAT([&] { (void)picky.call(3); }, ThrowsMessage<ServiceStopped>(failed));
  pipeline.stop();
  EXPECT_FALSE(pipeline.report().ok);
  EXPECT_THAT(pipeline.report().error,
              HasSubstr("service 'picky': stop(): its pipeline failed at 'picky': two"));
}

TEST(PipelineServices, AnswerWhatIsInThemWhenTheyAreStopped) {
  LocalEnvironment env("flows out");
  auto sums = env.register_pipeline_service<int, std::string>("sums", build);
  auto answers = std::make_shared<std::atomic<int>>(0);
  env.from_collection(numbers(500)).sink([=](int x, Context& c) {
    static_cast<void>(x);
    static_cast<void>(c.call_async(sums, 20));
  });
  const PipelineReport report = run(env);
  EXPECT_EQ(op(*report.services[0].pipeline, "answer").in, 500u);
}

struct Asks {
  explicit Asks(PipelineServiceHandle<int, std::string> that, std::shared_ptr<std::string> to)
      : sums(std::move(that)), answer(std::move(to)) {}
  void stop() { *answer = sums.call(41); }
  PipelineServiceHandle<int, std::string> sums;
  std::shared_ptr<std::string> answer;
};

TEST(PipelineServices, UseAndServeOtherServicesToTheEnd) {
  LocalEnvironment env("chain");
  auto adder = env.register_service<Adder>("outer adder", 1000);
  auto sums = env.register_pipeline_service<int, std::string>("sums", [=](LocalEnvironment&, auto requests) {
    return requests.map([=](int x, Context& c) { return std::to_string(c.call(adder, &Adder::add, x)); });
  });
  auto answer = std::make_shared<std::string>();
  (void)env.register_service<Asks>("asks", sums, answer);
  env.from_collection(numbers(1)).sink([](int) {});
  run(env);
  EXPECT_EQ(*answer, "1041");
}

TEST(PipelineServices, ThatHangAreCancelledAndTheirCallersTold) {
  LocalEnvironment env("hangs");
  auto entered = std::make_shared<std::promise<void>>();
  auto hangs = env.register_pipeline_service<int, int>(
      service("hangs").cleanup_timeout(400ms), [=](LocalEnvironment&, auto requests) {
        return requests.round_robin()
            .map([=](int x, Context& c) {
              entered->set_value();
              std::mutex mutex;
              std::unique_lock lock(mutex);
              std::condition_variable_any never;
              never.wait(lock, c.stop_token(), [] { return false; });
              if (c.stop_token().stop_requested()) throw std::runtime_error("cancelled");
              return x;
            })
            .name("waits");
      });
  Pipeline pipeline = up(env);
  auto call = hangs.call_async(1);
  auto next = hangs.call_async(2);
  entered->get_future().wait();
  pipeline.stop();
  EXPECT_THROW((void)call.get(), std::runtime_error);
  EXPECT_THROW((void)next.get(), Unanswered);
  EXPECT_FALSE(pipeline.report().ok);
  EXPECT_THAT(pipeline.report().error, HasSubstr("service 'hangs': stop(): its pipeline was cancelled"));
  EXPECT_TRUE(pipeline.report().services[0].cleanup_completed);
}

TEST(PipelineServices, WithALimitGiveUp) {
  LocalEnvironment env("limit");
  std::promise<void> let_go;
  std::shared_future<void> gate = let_go.get_future().share();
  auto slow = env.register_pipeline_service<int, int>(service("slow").concurrency(1),
                                                      [=](LocalEnvironment&, auto requests) {
                                                        return requests.map([=](int x) {
                                                          gate.wait();
                                                          return x;
                                                        });
                                                      });
  Pipeline pipeline = up(env);
  EXPECT_THROW((void)slow.call(within(5ms), 1), ServiceTimeout);
  EXPECT_THROW((void)slow.call(within(5ms), 2), ServiceTimeout);  // it has no slot
  let_go.set_value();
  EXPECT_EQ(slow.call(within(20s), 3), 3);
  pipeline.stop();
  EXPECT_EQ(pipeline.report().services[0].timeouts, 2u);
  EXPECT_EQ(pipeline.report().services[0].calls, 2u);
}

TEST(PipelineServices, ThatCannotStartFailTheirPipeline) {
  struct Broken {
    Broken() { throw std::runtime_error("no weights"); }
  };
  LocalEnvironment env("broken");
  (void)env.register_pipeline_service<int, int>("inner", [](LocalEnvironment& inner, auto requests) {
    (void)inner.register_service<Broken>("broken");
    return requests.map([](int x) { return x; });
  });
  env.from_collection(numbers(1)).sink([](int) {});
  const PipelineReport failed = failure_of(env);
  EXPECT_EQ(failed.failed_at, "inner");
  EXPECT_EQ(failed.error, "its pipeline failed at 'broken': no weights");
}

TEST(PipelineServices, TakeWhatCannotBeCopied) {
  LocalEnvironment env("boxes");
  using Box = std::unique_ptr<int>;
  auto boxes = env.register_pipeline_service<Box, Box>("boxes", [](LocalEnvironment&, auto requests) {
    return requests
        .map([](Box box) {
          ++*box;
          return box;
        })
        .map([](const Box& box) { return std::make_unique<int>(*box * 2); })
        .on_error(retry(1, 1ms));
  });
  Pipeline pipeline = up(env);
  EXPECT_EQ(*boxes.call(std::make_unique<int>(4)), 10);
}

}  // namespace
}  // namespace ebb
