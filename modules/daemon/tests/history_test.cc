// What is kept of ended jobs, and what goes first.
#include "history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/executor_work_guard.hpp>
#include <fstream>
#include <future>

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::ElementsAre;

// Jobs are numbered from 1 in these tests; the lower ones have ended earlier.
class HistoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "ebb-history-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    config_.history.min_age = Duration(0);
    fs::create_directories(folder_ / "logs");
    fs::create_directories(folder_ / "attempts");
    make_context();
  }
  void TearDown() override {
    history_.reset();
    context_.reset();
    fs::remove_all(folder_);
  }

  void make_context() {
    history_.reset();
    context_.reset();
    auto store = store::Store::open(folder_);
    ASSERT_TRUE(store) << store.error().message;
    context_.emplace(io_, config_, std::move(*store));
    context_->logs = folder_ / "logs";
    context_->attempts = folder_ / "attempts";
    context_->disk_failed = [](const Error& error) { FAIL() << error.message; };
  }
  void begin() {
    context_->config = config_;
    history_.emplace(*context_, [this](JobId id) { return live_.contains(id); });
    history_->begin();
  }

  static JobId id_of(std::int64_t seq) { return JobId(static_cast<std::uint32_t>(seq) * 2654435761U); }
  static AttemptId attempt_of(std::int64_t seq) { return {id_of(seq), 1}; }
  [[nodiscard]] fs::path log_of(std::int64_t seq) const { return folder_ / "logs" / attempt_of(seq).str(); }

  void commit(store::Batch batch) {
    std::promise<store::Store::Outcome> done;
    context_->store.commit(std::move(batch),
                           [&](store::Store::Outcome outcome) { done.set_value(std::move(outcome)); });
    const auto outcome = done.get_future().get();
    ASSERT_TRUE(outcome.result) << outcome.result.error().message;
  }
  void put_job(store::Batch& batch, std::int64_t seq, std::size_t log_bytes) const {
    store::JobRow row;
    row.id = id_of(seq);
    row.seq = seq;
    row.user = "alice";
    row.spec.command = {"true"};
    store::AttemptRow attempt;
    attempt.id = attempt_of(seq);
    batch.push_back(store::write::AddJob{row});
    batch.push_back(store::write::AddAttempt{attempt});
    fs::create_directories(log_of(seq));
    std::ofstream(log_of(seq) / "output.000000") << std::string(log_bytes, 'x');
  }
  static WallTime put_end(store::Batch& batch, std::int64_t seq, Duration ago) {
    model::Report report;
    report.job = id_of(seq);
    report.attempt = 1;
    report.released_at = system_clock().wall() - ago;
    batch.push_back(store::write::AddReport{report});
    return report.released_at;
  }
  void add_job(std::int64_t seq, std::size_t log_bytes) {
    store::Batch batch;
    put_job(batch, seq, log_bytes);
    commit(std::move(batch));
  }
  WallTime end_job(std::int64_t seq, Duration ago) {
    store::Batch batch;
    const WallTime at = put_end(batch, seq, ago);
    commit(std::move(batch));
    return at;
  }
  // Jobs 1 … count, ended an hour ago and later, one each second. In one commit: each costs a disk's time.
  void add_ended(std::int64_t count, std::size_t log_bytes = 4096) {
    store::Batch batch;
    for (std::int64_t seq = 1; seq <= count; ++seq) {
      put_job(batch, seq, log_bytes);
      ended_at_[seq] = put_end(batch, seq, 1h - std::chrono::seconds(seq));
    }
    commit(std::move(batch));
  }

  [[nodiscard]] std::vector<std::int64_t> with_row(std::int64_t count) const {
    std::vector<std::int64_t> seqs;
    for (std::int64_t seq = 1; seq <= count; ++seq) {
      if (*context_->store.job(id_of(seq))) seqs.push_back(seq);
    }
    return seqs;
  }
  [[nodiscard]] std::vector<std::int64_t> with_log(std::int64_t count) const {
    std::vector<std::int64_t> seqs;
    for (std::int64_t seq = 1; seq <= count; ++seq) {
      if (fs::exists(log_of(seq))) seqs.push_back(seq);
    }
    return seqs;
  }
  [[nodiscard]] bool gone(std::int64_t seq) const { return !*context_->store.job(id_of(seq)); }

  template <typename Condition>
  [[nodiscard]] bool run_until(Condition condition) {
    const auto work = asio::make_work_guard(io_);
    const BootTime limit = BootClock::now() + 30s;
    while (!condition()) {
      if (BootClock::now() > limit) return false;
      io_.restart();
      io_.run_one_for(20ms);
    }
    return true;
  }

  fs::path folder_;
  asio::io_context io_{1};
  Config config_;
  std::optional<Context> context_;
  std::optional<History> history_;
  std::set<JobId> live_;
  std::map<std::int64_t, WallTime> ended_at_;
};

TEST_F(HistoryTest, DropsTheJobsThatEndedFirstWithTheirLogsAndRemembersTheirIds) {
  add_ended(10);
  config_.history.jobs = 4;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(6); }));
  EXPECT_THAT(with_row(10), ElementsAre(7, 8, 9, 10));
  EXPECT_THAT(with_log(10), ElementsAre(7, 8, 9, 10));
  EXPECT_TRUE(*context_->store.known(id_of(1)));
  io_.restart();
  io_.run();  // returns: nothing is waited for
}

TEST_F(HistoryTest, TakesAsManyStepsAsItNeeds) {
  add_ended(150);
  config_.history.jobs = 10;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(140); }));
  EXPECT_EQ(with_row(150).size(), 10U);
}

TEST_F(HistoryTest, KeepsTheNewestJobSinceTheNumberingGoesOnFromIt) {
  add_ended(3);
  config_.history.jobs = 0;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(2); }));
  EXPECT_THAT(with_row(3), ElementsAre(3));
  add_job(4, 4096);
  end_job(4, 0s);
  history_->ended(attempt_of(4));
  ASSERT_TRUE(run_until([&] { return gone(3); }));
  EXPECT_THAT(with_row(4), ElementsAre(4));
}

TEST_F(HistoryTest, LeavesLiveJobsAlone) {
  add_job(1, 100'000);
  live_.insert(id_of(1));
  add_job(2, 4096);
  end_job(2, 1h);
  add_job(3, 4096);
  end_job(3, 1min);
  config_.history.jobs = 0;
  config_.history.logs = 50'000;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(2); }));
  EXPECT_THAT(with_row(3), ElementsAre(1, 3));
  EXPECT_THAT(with_log(3), ElementsAre(1, 3)) << "the log of a live job does not count";
}

TEST_F(HistoryTest, PassesOverAJobWhoseKeeperIsStillThere) {
  add_ended(4);
  fs::create_directories(folder_ / "attempts" / attempt_of(1).str());
  config_.history.jobs = 2;
  config_.history.logs = 8192;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(3); }));
  EXPECT_THAT(with_row(4), ElementsAre(1, 4));
  EXPECT_THAT(with_log(4), ElementsAre(1, 4));
}

TEST_F(HistoryTest, KeepsWhatIsYoungWhateverTheLimits) {
  add_ended(3);
  add_job(4, 100'000);
  end_job(4, 1min);
  add_job(5, 100'000);
  end_job(5, 0s);
  config_.history.jobs = 1;
  config_.history.logs = 0;
  config_.history.min_age = 30min;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(3); }));
  EXPECT_THAT(with_row(5), ElementsAre(4, 5));
  EXPECT_THAT(with_log(5), ElementsAre(4, 5));
}

TEST_F(HistoryTest, DropsWhatIsTooOldByItself) {
  add_ended(2);
  add_job(3, 4096);
  end_job(3, 0s);
  add_job(4, 4096);
  config_.history.max_age = 2s;
  begin();
  ASSERT_TRUE(run_until([&] { return gone(2); }));
  EXPECT_THAT(with_row(4), ElementsAre(3, 4));
  ASSERT_TRUE(run_until([&] { return gone(3); })) << "nothing happens but that time passes";
}

TEST_F(HistoryTest, DropsTheLogsOfThoseThatEndedFirstAndKeepsTheirJobs) {
  add_ended(6, 10'000);  // three blocks each
  config_.history.logs = 40'000;
  begin();
  ASSERT_TRUE(run_until([&] { return !fs::exists(log_of(3)); }));
  EXPECT_THAT(with_log(6), ElementsAre(4, 5, 6));
  EXPECT_THAT(with_row(6), ElementsAre(1, 2, 3, 4, 5, 6));

  add_job(7, 10'000);
  ended_at_[7] = end_job(7, 0s);
  history_->ended(attempt_of(7));
  ASSERT_TRUE(run_until([&] { return !fs::exists(log_of(4)); }));
  EXPECT_THAT(with_log(7), ElementsAre(5, 6, 7));
  const auto told = [&](std::int64_t seq) {
    return history_->log_dropped({.at = ended_at_[seq], .seq = seq});
  };
  ASSERT_TRUE(run_until([&] { return !told(5); }));
  EXPECT_TRUE(told(1));
  EXPECT_TRUE(told(4));

  make_context();
  begin();
  EXPECT_TRUE(told(1)) << "the next daemon knows it too";
  EXPECT_TRUE(told(4));
  EXPECT_FALSE(told(7));
}

TEST_F(HistoryTest, FindsLogsThatLieBeforeThePlaceWhereItStopped) {
  add_ended(4, 10'000);
  config_.history.logs = 0;
  begin();
  ASSERT_TRUE(run_until([&] { return with_log(4).empty(); }));
  ASSERT_TRUE(run_until([&] { return *context_->store.value("history-logs-gone") != std::nullopt; }));
  // As if the clock had been set back: it ended before all others.
  add_job(5, 10'000);
  end_job(5, 2h);
  history_->ended(attempt_of(5));
  ASSERT_TRUE(run_until([&] { return with_log(5).empty(); }));
}

TEST_F(HistoryTest, CountsWhatEndsWhileItStillCounts) {
  add_ended(2, 10'000);
  add_job(3, 10'000);
  config_.history.logs = 30'000;
  begin();
  end_job(3, 0s);
  history_->ended(attempt_of(3));
  ASSERT_TRUE(run_until([&] { return !fs::exists(log_of(1)); }));
  EXPECT_THAT(with_log(3), ElementsAre(2, 3));
}

}  // namespace
}  // namespace ebb::daemon
