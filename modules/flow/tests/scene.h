// What the tests of pipelines share: running one to its end, and finding things in its report.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "ebb/flow.h"

namespace ebb::testing {

using namespace std::chrono_literals;

/// To its end, which must be a good one, with counts that add up.
inline PipelineReport run(LocalEnvironment& env) {
  PipelineReport report = env.submit({.autostop = true});
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.outcome, Outcome::completed);
  return report;
}

/// To an end that must be a failure, with counts that add up.
inline PipelineReport failure_of(LocalEnvironment& env, SubmitOptions options = {.autostop = true}) {
  try {
    (void)env.submit(std::move(options));
  } catch (const PipelineError& error) {
    EXPECT_FALSE(error.unbalanced()) << error.what() << error.report();
    // A service that does not end well is no failure of the operators'.
    if (error.report().failed_at != "the services' end") {
      EXPECT_EQ(error.report().outcome, Outcome::failed);
    }
    return error.report();
  }
  ADD_FAILURE() << "it did not fail";
  return {};
}

/// What submit() says of a graph that it does not take.
inline std::string refusal_of(LocalEnvironment& env) {
  try {
    (void)env.submit({.autostop = true});
  } catch (const std::logic_error& error) {
    return error.what();
  }
  ADD_FAILURE() << "it was accepted";
  return "";
}

inline const OperatorReport& op(const PipelineReport& report, const std::string& name) {
  for (const OperatorReport& one : report.operators) {
    if (one.name == name) return one;
  }
  ADD_FAILURE() << "there is no operator '" << name << "' in the report";
  static const OperatorReport none;
  return none;
}

/// Until the operator has taken so many records.
inline void await(const Pipeline& pipeline, const std::string& name, std::uint64_t records) {
  const BootTime deadline = BootClock::now() + 60s;
  while (true) {
    const bool ended = pipeline.status() == Pipeline::Status::ended;
    if (op(pipeline.report(), name).in >= records) return;
    ASSERT_FALSE(ended) << pipeline.report().error;
    ASSERT_LT(BootClock::now(), deadline) << "'" << name << "' does not get its records";
    std::this_thread::yield();
  }
}

inline std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

inline std::vector<int> sorted(std::vector<int> all) {
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace ebb::testing
