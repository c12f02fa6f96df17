#include "ebb/lifecycle/blocking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "ebb/lifecycle/manual.h"

namespace ebb::lifecycle {
namespace {

using model::Outcome;
using testing::ElementsAre;

constexpr Duration second = std::chrono::seconds(1);

model::ReleaseRecord service(std::string name) {
  model::ReleaseRecord record;
  record.kind = model::ReleaseKind::service;
  record.target = std::move(name);
  record.verified_by = "stopped";
  return record;
}

class BlockingScopeTest : public testing::Test {
 protected:
  BlockingScope::Function stop(const std::string& name) {
    return [this, name](BootTime deadline) {
      stopped.push_back(name);
      left.push_back(deadline - clock.boot());
      return service(name);
    };
  }
  ManualClock clock;
  std::vector<std::string> stopped;
  std::vector<Duration> left;
};

TEST_F(BlockingScopeTest, ReleasesInReverseOrderOnce) {
  BlockingScope scope(clock);
  scope.add(service("store"), second, stop("store"));
  scope.add(service("web"), 2 * second, stop("web"));
  EXPECT_EQ(scope.release().size(), 2U);
  EXPECT_EQ(scope.release()[0].target, "web");
  EXPECT_THAT(stopped, ElementsAre("web", "store"));
  EXPECT_THAT(left, ElementsAre(2 * second, second));
}

TEST_F(BlockingScopeTest, GoesOnAfterOneThatThrows) {
  BlockingScope scope(clock);
  scope.add(service("store"), second, stop("store"));
  scope.add(service("web"), second,
            [](BootTime) -> model::ReleaseRecord { throw std::runtime_error("stuck"); });
  const auto& records = scope.release();
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].outcome, Outcome::failed);
  EXPECT_EQ(records[0].error, "could not be released: stuck");
  EXPECT_EQ(records[1].outcome, Outcome::released);
}

TEST_F(BlockingScopeTest, DoesNotCallALateOneReleased) {
  BlockingScope scope(clock);
  scope.add(service("web"), second, [this](BootTime) {
    clock.advance(3 * second);
    return service("web");
  });
  const auto& records = scope.release();
  EXPECT_EQ(records[0].outcome, Outcome::failed);
  EXPECT_EQ(records[0].error, "was released after 3 s; the limit is 1 s");
  EXPECT_DOUBLE_EQ(records[0].took_ms, 3'000);
}

TEST_F(BlockingScopeTest, ReleasesWhenDestroyedAndAfterAMoveOnlyOnce) {
  {
    BlockingScope first(clock);
    first.add(service("a"), second, stop("a"));
    BlockingScope scope = std::move(first);
    BlockingScope other(clock);
    other.add(service("b"), second, stop("b"));
    other = std::move(scope);
    EXPECT_THAT(stopped, ElementsAre("b")) << "what it held is released before it is replaced";
  }
  EXPECT_THAT(stopped, ElementsAre("b", "a"));
}

TEST_F(BlockingScopeTest, ServesTheEndOfABodyWhateverWayItEnds) {
  const auto records =
      run_in(BlockingScope(clock), [&](BlockingScope& scope) { scope.add(service("a"), second, stop("a")); });
  EXPECT_EQ(records.size(), 1U);
  EXPECT_THROW(run_in(BlockingScope(clock),
                      [&](BlockingScope& scope) {
                        scope.add(service("b"), second, stop("b"));
                        throw std::logic_error("body");
                      }),
               std::logic_error);
  EXPECT_THAT(stopped, ElementsAre("a", "b"));
}

}  // namespace
}  // namespace ebb::lifecycle
