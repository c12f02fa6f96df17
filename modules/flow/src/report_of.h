// What a graph and its threads have counted, in words and numbers for people.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ebb/flow/report.h"
#include "ebb/flow/runtime/graph.h"

namespace ebb::flow {

[[nodiscard]] Latency latency_of(const Quantiles& took) noexcept;
/// Operators and edges, as of `now`. At any time during a run, and after it.
void report_graph(const Graph& graph, BootTime now, PipelineReport& report);
void report_stages(const Graph& graph, const std::map<const Stage*, std::vector<const Worker*>>& workers,
                   PipelineReport& report);

/// What this thread is at: "operator 'parse', which is in its function", "operator 'score', which waits for a
/// slot of 'scorer'". From any thread.
[[nodiscard]] std::string describe(const Stage& stage, const Worker& worker);

}  // namespace ebb::flow
