// What the tests of pipelines share: running one to its end, and finding things in its report.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <string>
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

inline const OperatorReport& op(const PipelineReport& report, const std::string& name) {
  for (const OperatorReport& one : report.operators) {
    if (one.name == name) return one;
  }
  ADD_FAILURE() << "there is no operator '" << name << "' in the report";
  static const OperatorReport none;
  return none;
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
