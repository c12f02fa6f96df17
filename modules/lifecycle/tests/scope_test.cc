#include "ebb/lifecycle/scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "ebb/lifecycle/manual.h"

namespace ebb::lifecycle {
namespace {

using model::Outcome;
using model::ReleaseKind;
using model::ReleaseRecord;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Duration second = std::chrono::seconds(1);

ReleaseRecord released(std::string target, ReleaseKind kind = ReleaseKind::scratch) {
  ReleaseRecord record;
  record.kind = kind;
  record.target = std::move(target);
  record.verified_by = "test";
  return record;
}

/// A release that the test drives by hand, and that writes down what happens to it.
class Hand final : public Release {
 public:
  struct Log {
    std::vector<std::string> lines;
    std::map<std::string, Done> waiting;
  };
  Hand(Log& log, std::string name, ReleaseKind kind = ReleaseKind::scratch)
      : log_(log), name_(std::move(name)), kind_(kind) {}
  ~Hand() override { log_.lines.push_back("~" + name_); }
  [[nodiscard]] ReleaseRecord describe() const override { return released(name_, kind_); }
  void begin(Done done) override {
    log_.lines.push_back(name_);
    log_.waiting[name_] = std::move(done);
  }
  [[nodiscard]] ReleaseRecord expire() override {
    log_.lines.push_back(name_ + " late");
    log_.waiting[name_](released("called from expire()"));  // too late: must have no effect
    ReleaseRecord record = describe();
    record.verified_by.reset();
    return record;
  }

 private:
  Log& log_;
  std::string name_;
  ReleaseKind kind_;
};

class ScopeTest : public testing::Test {
 protected:
  std::unique_ptr<Release> hand(const std::string& name, ReleaseKind kind = ReleaseKind::scratch) {
    return std::make_unique<Hand>(log, name, kind);
  }
  void finish(const std::string& name) { log.waiting[name](released(name)); }
  Scope::Done keep() {
    return [this](const Scope::Records& all) {
      records = all;
      ++answers;
    };
  }
  std::vector<std::string> targets() const {
    std::vector<std::string> names;
    for (const auto& record : records) names.push_back(record.target);
    return names;
  }

  ManualClock clock;
  ManualTimers timers{clock};
  Hand::Log log;
  Scope::Records records;
  int answers = 0;
};

TEST_F(ScopeTest, RunsReleasesOneAfterTheOtherInOrder) {
  Scope scope(clock, timers);
  scope.add(hand("a"), second);
  scope.add(hand("b"), second);
  scope.release(keep());
  EXPECT_THAT(log.lines, ElementsAre("a"));
  timers.advance(second / 4);
  finish("a");
  EXPECT_THAT(log.lines, ElementsAre("a", "b"));
  EXPECT_EQ(answers, 0);
  finish("b");
  EXPECT_EQ(answers, 1);
  EXPECT_TRUE(scope.released());
  EXPECT_THAT(targets(), ElementsAre("a", "b"));
  EXPECT_DOUBLE_EQ(records[0].took_ms, 250);
  EXPECT_EQ(timers.pending(), 0U);
}

TEST_F(ScopeTest, RunsThoseBesideEachOtherAtTheSameTime) {
  Scope scope(clock, timers);
  scope.add(hand("processes"), second);
  scope.add(hand("gpu 0"), second);
  scope.add(hand("gpu 1"), second, Scope::Order::beside);
  scope.add(hand("scratch"), second);
  scope.release(keep());
  EXPECT_THAT(log.lines, ElementsAre("processes"));
  finish("processes");
  EXPECT_THAT(log.lines, ElementsAre("processes", "gpu 0", "gpu 1"));
  finish("gpu 1");
  EXPECT_THAT(log.lines, ElementsAre("processes", "gpu 0", "gpu 1"));
  finish("gpu 0");
  finish("scratch");
  EXPECT_THAT(targets(), ElementsAre("processes", "gpu 0", "gpu 1", "scratch")) << "in order of add()";
}

TEST_F(ScopeTest, AnswersFromWithinReleaseWhenNothingHasToBeWaitedFor) {
  Scope scope(clock, timers);
  for (int i = 0; i < 100'000; ++i)
    scope.add(release_by(released("x"), [] { return released("x"); }), second);
  scope.release(keep());
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(records.size(), 100'000U);

  Scope empty(clock, timers);
  empty.release(keep());
  EXPECT_EQ(answers, 2);
  EXPECT_THAT(records, IsEmpty());
}

TEST_F(ScopeTest, GoesOnWhenADeadlinePasses) {
  Scope scope(clock, timers);
  scope.add(hand("gpu", ReleaseKind::gpu), 10 * second);
  scope.add(hand("scratch"), second);
  scope.release(keep());
  timers.advance(10 * second);
  EXPECT_THAT(log.lines, ElementsAre("gpu", "gpu late", "scratch"));
  finish("gpu");  // too late, no effect
  timers.advance(second);
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(records[0].target, "gpu");
  EXPECT_EQ(records[0].outcome, Outcome::quarantined);
  EXPECT_EQ(records[0].error, "was not released within 10 s");
  EXPECT_DOUBLE_EQ(records[0].took_ms, 10'000);
  EXPECT_EQ(records[1].outcome, Outcome::failed);
}

class Throwing final : public Release {
 public:
  explicit Throwing(bool in_describe = false) : in_describe_(in_describe) {}
  [[nodiscard]] ReleaseRecord describe() const override {
    if (in_describe_) throw std::runtime_error("describe");
    return released("0", ReleaseKind::gpu);
  }
  void begin(Done) override { throw std::runtime_error("no driver"); }
  [[nodiscard]] ReleaseRecord expire() override { throw 7; }

 private:
  bool in_describe_;
};

class ThrowingLate final : public Release {
 public:
  [[nodiscard]] ReleaseRecord describe() const override { return released("s"); }
  void begin(Done) override {}
  [[nodiscard]] ReleaseRecord expire() override { throw 7; }
};

TEST_F(ScopeTest, RecordsWhatReleasesThrow) {
  Scope scope(clock, timers);
  scope.add(std::make_unique<Throwing>(), second);
  scope.add(std::make_unique<Throwing>(true), second);
  scope.add(std::make_unique<ThrowingLate>(), second);
  scope.add(hand("last"), second);
  scope.release(keep());
  timers.advance(second);
  finish("last");
  ASSERT_EQ(records.size(), 4U);
  EXPECT_EQ(records[0].outcome, Outcome::quarantined);
  EXPECT_EQ(records[0].error, "could not be released: no driver");
  EXPECT_EQ(records[0].verified_by, std::nullopt);
  EXPECT_EQ(records[1].target, "unknown");
  EXPECT_EQ(records[2].outcome, Outcome::failed);
  EXPECT_EQ(records[2].error, "did not end in time: an exception that is no std::exception");
  EXPECT_EQ(records[3].outcome, Outcome::released);
}

TEST_F(ScopeTest, DoesNotBelieveAReleaseThatNothingVerified) {
  Scope scope(clock, timers);
  scope.add(release_by({},
                       [] {
                         ReleaseRecord record = released("0", ReleaseKind::gpu);
                         record.verified_by.reset();
                         return record;
                       }),
            second);
  scope.release(keep());
  EXPECT_EQ(records[0].outcome, Outcome::quarantined);
  EXPECT_EQ(records[0].error, "said to be released, but nothing verified it");
}

TEST_F(ScopeTest, AnswersEveryCallerOfRelease) {
  Scope scope(clock, timers);
  scope.add(hand("a"), second);
  scope.release(keep());
  scope.release(keep());
  EXPECT_THAT(log.lines, ElementsAre("a"));
  finish("a");
  EXPECT_EQ(answers, 2);
  scope.release(keep());
  EXPECT_EQ(answers, 3);
  EXPECT_THAT(targets(), ElementsAre("a"));
}

TEST_F(ScopeTest, DestroyedHalfWayDropsTheRestAndCallsNobody) {
  {
    Scope scope(clock, timers);
    scope.add(hand("a"), second);
    scope.add(hand("b"), second);
    scope.release(keep());
  }
  EXPECT_THAT(log.lines, ElementsAre("a", "~a", "~b"));
  EXPECT_EQ(timers.pending(), 0U);
  finish("a");  // a release that forgot to stop
  EXPECT_THAT(log.lines, ElementsAre("a", "~a", "~b"));
  EXPECT_EQ(answers, 0);
}

TEST_F(ScopeTest, NeverReleasedRunsNothing) {
  {
    Scope scope(clock, timers);
    scope.add(hand("a"), second);
  }
  EXPECT_THAT(log.lines, ElementsAre("~a"));
}

TEST_F(ScopeTest, MovesAlsoWhileReleasing) {
  Scope first(clock, timers);
  first.add(hand("a"), second);
  first.add(hand("b"), second);
  first.release(keep());
  Scope scope = std::move(first);
  finish("a");
  EXPECT_TRUE(scope.releasing());
  Scope other(clock, timers);
  other.add(hand("dropped"), second);
  other = std::move(scope);
  EXPECT_THAT(log.lines, ElementsAre("a", "b", "~dropped"));
  finish("b");
  EXPECT_TRUE(other.released());
  EXPECT_EQ(answers, 1);
}

TEST_F(ScopeTest, MayBeDestroyedByItsOwnAnswer) {
  auto scope = std::make_unique<Scope>(clock, timers);
  scope->add(hand("a"), second);
  scope->release([&](const Scope::Records& all) {
    scope.reset();
    records = all;
  });
  finish("a");
  EXPECT_EQ(scope, nullptr);
  EXPECT_THAT(targets(), ElementsAre("a"));
}

TEST_F(ScopeTest, TakesOnlyTheFirstAnswerOfARelease) {
  Scope scope(clock, timers);
  scope.add(hand("a"), second);
  scope.add(hand("b"), second);
  scope.release(keep());
  const auto done = log.waiting["a"];
  done(released("a"));
  done(released("again"));
  finish("b");
  EXPECT_THAT(targets(), ElementsAre("a", "b"));
}

TEST(Report, IsCompleteWhenEverythingIsReleased) {
  Ending ending;
  ending.job = JobId(7);
  ending.attempt = 1;
  ending.reason = {model::StopKind::cancelled, "owner", "SIGINT"};
  ending.exit.signal = 15;
  ending.tier = "cgroup+pidns";
  EXPECT_TRUE(make_report(ending, {}, {}).complete);
  EXPECT_TRUE(make_report(ending, {released("a")}, {}).complete);
  ReleaseRecord stuck = released("b", ReleaseKind::gpu);
  stuck.outcome = Outcome::quarantined;
  const WallTime at = ManualClock().wall();
  const model::Report report = make_report(ending, {released("a"), stuck}, at);
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.releases.size(), 2U);
  EXPECT_EQ(report.reason.detail, "SIGINT");
  EXPECT_EQ(report.exit.signal, 15);
  EXPECT_EQ(report.tier, "cgroup+pidns");
  EXPECT_EQ(report.released_at, at);
}

}  // namespace
}  // namespace ebb::lifecycle
