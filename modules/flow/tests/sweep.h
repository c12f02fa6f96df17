#pragma once

#include "scene.h"

namespace ebb::testing {

/// So many records behind a crossing, each of a key of its own whose state is gone at once, with room for few
/// states; returns how many came out.
inline std::uint64_t sweep(int records) {
  LocalEnvironment env("sweep");
  std::uint64_t out = 0;
  env.from_source([n = 0, records]() mutable { return n < records ? std::optional(n++) : std::nullopt; })
      .key_by([](const int& x) { return x; })
      .process<int>(
          [](const int& x, Keyed<ValueState<int>>& state, auto& emit) {
            state->set(x);
            emit(x);
          },
          ValueState<int>().ttl(Duration::zero()))
      .sink([&](int) { ++out; });
  const PipelineReport report = env.submit({.autostop = true, .state_limit = 1_MiB});
  EXPECT_TRUE(report.ok) << report.error;
  return out;
}

}  // namespace ebb::testing
