#include "run_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::client {
namespace {

using testing::ElementsAre;

class ProgressTest : public testing::Test {
 protected:
  void show() { progress_.show(job_, now_, say_); }
  Progress progress_;
  model::Job job_ = [] {
    model::Job job;
    job.id = *JobId::parse("7f3a91c2");
    return job;
  }();
  BootTime now_{std::chrono::seconds(1000)};
  std::vector<std::string> said_;
  Progress::Say say_ = [this](std::string_view text) { said_.emplace_back(text); };
};

TEST_F(ProgressTest, SaysEachThingOnce) {
  job_.position = 2;
  job_.why = "waits for 2 GPUs; alice's 5c01aa07 holds 0 1 2 3";
  show();
  show();
  now_ += std::chrono::seconds(10);
  job_.position = 1;
  show();
  job_.state = model::JobState::starting;
  job_.position.reset();
  job_.why.reset();
  show();
  job_.state = model::JobState::running;
  job_.gpu_ids = {0, 1};
  job_.ports = {38001};
  show();
  show();
  EXPECT_THAT(
      said_,
      ElementsAre("job 7f3a91c2 is queued, position 2: waits for 2 GPUs; alice's 5c01aa07 holds 0 1 2 3",
                  "job 7f3a91c2 is queued, position 1: waits for 2 GPUs; alice's 5c01aa07 holds 0 1 2 3",
                  "job 7f3a91c2 runs on GPU 0 1, port 38001"));
}

TEST_F(ProgressTest, SaysAQueueThatMovesNowAndThenAndTheLastPlaceAlways) {
  job_.why = "waits for 2 GPUs";
  for (int position = 500; position > 300; --position) {
    job_.position = position;
    show();
    now_ += std::chrono::milliseconds(100);
  }
  EXPECT_THAT(said_, ElementsAre("job 7f3a91c2 is queued, position 500: waits for 2 GPUs",
                                 "job 7f3a91c2 is queued, position 400: waits for 2 GPUs"));
  ASSERT_TRUE(progress_.due());
  now_ = *progress_.due();
  progress_.say_place(now_, say_);
  EXPECT_EQ(said_.back(), "job 7f3a91c2 is queued, position 301: waits for 2 GPUs");
  EXPECT_FALSE(progress_.due());
}

TEST_F(ProgressTest, SaysWhatAStartWaitsFor) {
  job_.state = model::JobState::starting;
  job_.gpu_ids = {3};
  show();
  EXPECT_TRUE(said_.empty());
  job_.spec.ready = model::Ready{.path = "/health", .timeout_s = std::nullopt};
  show();
  show();
  EXPECT_THAT(said_, ElementsAre("job 7f3a91c2 starts on GPU 3; it runs once /health answers"));
}

TEST_F(ProgressTest, SaysNothingOfAQueueThatNobodyWaitsIn) {
  job_.position = 1;
  show();
  EXPECT_TRUE(said_.empty());
}

TEST(EndWords, NameWhatWentWrong) {
  model::Report report;
  report.job = *JobId::parse("7f3a91c2");
  EXPECT_EQ(end_words(report), "");
  report.reason.kind = model::StopKind::failed;
  report.exit.code = 3;
  EXPECT_EQ(end_words(report), "job 7f3a91c2 failed: exit code 3");
  report.exit = {.code = std::nullopt, .signal = 9};
  EXPECT_EQ(end_words(report), "job 7f3a91c2 failed: SIGKILL");
  report.reason.detail = "signal 9";
  EXPECT_EQ(end_words(report), "job 7f3a91c2 failed: SIGKILL");
  report.reason = {.kind = model::StopKind::timeout, .by = "daemon", .detail = "its --time has passed"};
  EXPECT_EQ(end_words(report), "job 7f3a91c2 ended: timeout: its --time has passed");
  report.reason = {.kind = model::StopKind::cancelled, .by = "admin alice", .detail = std::nullopt};
  EXPECT_EQ(end_words(report), "job 7f3a91c2 ended: cancelled by admin alice: SIGKILL");
}

TEST(SidecarUrls, GoIntoCommandAndEnvironment) {
  SidecarUrls urls;
  urls["r"] = "http://h:1";
  model::JobRequest request;
  request.command = {"train", "url={sidecar.r.url}", "{port}"};
  request.env.emplace();
  (*request.env)["URL"] = "{sidecar.r.url}/x";
  ASSERT_TRUE(put_sidecar_urls(request, urls));
  EXPECT_THAT(*request.command, ElementsAre("train", "url=http://h:1", "{port}"));
  EXPECT_EQ(request.env->at("URL"), "http://h:1/x");
  (*request.env)["URL"] = "{sidecar.q.url}";
  const auto put = put_sidecar_urls(request, urls);
  ASSERT_FALSE(put);
  EXPECT_THAT(put.error().message, testing::HasSubstr("--env URL"));
}

}  // namespace
}  // namespace ebb::client
