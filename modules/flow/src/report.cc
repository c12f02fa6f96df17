#include "ebb/flow/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <ostream>

#include "ebb/base/units.h"
#include "ebb/model/json.h"

namespace ebb {
namespace {

namespace json = boost::json;

// Within a label of Graphviz's language.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

void add_latency(json::object& object, const Latency& latency) {
  const auto value = [&](double us) { return latency.samples == 0 ? json::value(nullptr) : json::value(us); };
  object["p50_us"] = value(latency.p50_us);
  object["p95_us"] = value(latency.p95_us);
  object["p99_us"] = value(latency.p99_us);
}

json::object object_of(const OperatorReport& op) {
  json::object object{{"name", op.name},
                      {"kind", op.kind},
                      {"replicas", op.replicas},
                      {"in", op.in},
                      {"processed", op.processed},
                      {"filtered", op.filtered},
                      {"skipped", op.skipped},
                      {"dead_lettered", op.dead_lettered},
                      {"failed", op.failed},
                      {"late", op.late},
                      {"emitted", op.emitted},
                      {"per_s",
                       {{"over_1_min", op.rates.over_1_min},
                        {"over_5_min", op.rates.over_5_min},
                        {"over_60_min", op.rates.over_60_min}}}};
  add_latency(object, op.latency);
  return object;
}

json::object object_of(const EdgeReport& edge) {
  return {{"from", edge.from},
          {"to", edge.to},
          {"sent", edge.sent},
          {"received", edge.received},
          {"discarded", edge.discarded()},
          {"discarded_by",
           {{"cancel", edge.discarded_by_cancel},
            {"consumer_ended", edge.discarded_by_end},
            {"failure", edge.discarded_by_failure}}},
          {"most_waiting", edge.most_waiting},
          {"capacity", edge.capacity}};
}

json::object object_of(const StageReport& stage) {
  return {{"operators", json::value_from(stage.operators)},
          {"replicas", stage.replicas},
          {"busy_ms", static_cast<double>(stage.busy.count()) / 1e3},
          {"blocked_ms", static_cast<double>(stage.blocked.count()) / 1e3},
          {"waiting_ms", static_cast<double>(stage.waiting.count()) / 1e3}};
}

json::object object_of(const ServiceReport& service) {
  json::object object{{"name", service.name},
                      {"initialized", service.initialized},
                      {"running", service.running},
                      {"cleanup_called", service.cleanup_called},
                      {"cleanup_completed", service.cleanup_completed},
                      {"calls", service.calls},
                      {"timeouts", service.timeouts}};
  add_latency(object, service.latency);
  object["error"] = service.error.empty() ? json::value(nullptr) : json::value(service.error);
  object["pipeline"] = service.pipeline ? json::parse(service.pipeline->json()) : json::value(nullptr);
  return object;
}

template <typename T>
json::array array_of(const std::vector<T>& all) {
  json::array array;
  for (const T& one : all) array.push_back(object_of(one));
  return array;
}

json::value nullable(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

// A column for each count that some operator has; most pipelines lose nothing.
struct Column {
  const char* title;
  std::uint64_t OperatorReport::* count;
  bool always;
};
constexpr Column kColumns[] = {{"in", &OperatorReport::in, true},
                               {"processed", &OperatorReport::processed, true},
                               {"filtered", &OperatorReport::filtered, false},
                               {"skipped", &OperatorReport::skipped, false},
                               {"dead lettered", &OperatorReport::dead_lettered, false},
                               {"failed", &OperatorReport::failed, false},
                               {"late", &OperatorReport::late, false},
                               {"emitted", &OperatorReport::emitted, true}};

std::string format_us(double us) {
  if (us < 1) return fmt::format("{:.0f} ns", us * 1e3);
  if (us < 1e3) return fmt::format("{:.3g} us", us);
  return us < 1e6 ? fmt::format("{:.3g} ms", us / 1e3) : fmt::format("{:.3g} s", us / 1e6);
}

// Of the loop that begins with this operator: what a record takes on its way through it, and how much of its
// threads' time it was at work.
std::vector<std::string> speed_of(const PipelineReport& report, const OperatorReport& op) {
  std::vector<std::string> cells(3);
  const auto stage = std::find_if(report.stages.begin(), report.stages.end(),
                                  [&](const StageReport& one) { return one.operators.front() == op.name; });
  if (stage == report.stages.end()) return cells;
  if (op.latency.samples != 0) {
    cells[0] = format_us(op.latency.p50_us);
    cells[1] = format_us(op.latency.p99_us);
  }
  if (report.took > Duration::zero()) {
    const double all = static_cast<double>(report.took.count()) * stage->replicas;
    cells[2] = fmt::format("{:.0f}%", 100 * static_cast<double>(stage->busy.count()) / all);
  }
  return cells;
}

void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows) {
  constexpr std::size_t kTexts = 2;  // columns to the left, the others are numbers
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i < kTexts ? fmt::format("  {:<{}}", row[i], widths[i])
                         : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  }
}

void print_operators(std::ostream& out, const PipelineReport& report) {
  const auto& operators = report.operators;
  std::vector<Column> columns;
  for (const Column& column : kColumns) {
    const bool used = std::any_of(operators.begin(), operators.end(),
                                  [&](const OperatorReport& op) { return op.*column.count != 0; });
    if (used || column.always) columns.push_back(column);
  }
  std::vector<std::vector<std::string>> rows{{"operator", "kind", "replicas"}};
  for (const Column& column : columns) rows[0].emplace_back(column.title);
  rows[0].insert(rows[0].end(), {"p50", "p99", "busy"});
  for (const OperatorReport& op : operators) {
    auto& row = rows.emplace_back(std::vector{op.name, op.kind, fmt::to_string(op.replicas)});
    for (const Column& column : columns) row.push_back(fmt::to_string(op.*column.count));
    for (std::string& cell : speed_of(report, op)) row.push_back(std::move(cell));
  }
  print_table(out, rows);
}

void print_losses(std::ostream& out, const std::vector<EdgeReport>& edges) {
  for (const EdgeReport& edge : edges) {
    if (edge.discarded() == 0) continue;
    out << fmt::format("  {} -> {}: {} of {} records discarded", edge.from, edge.to, edge.discarded(),
                       edge.sent);
    if (edge.discarded_by_cancel != 0) out << ", " << edge.discarded_by_cancel << " by the cancel";
    if (edge.discarded_by_end != 0) out << ", " << edge.discarded_by_end << " since it took no more";
    if (edge.discarded_by_failure != 0) out << ", " << edge.discarded_by_failure << " by the failure";
    out << '\n';
  }
}

std::string_view life_of(const ServiceReport& service) {
  if (service.running) return "running";
  if (service.cleanup_completed) return "stopped and cleaned";
  if (service.cleanup_called) return "stopped, its cleanup did not complete";
  return service.initialized ? "stopped, not cleaned" : "never set up";
}

}  // namespace

const char* to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::completed:
      return "completed";
    case Outcome::failed:
      return "failed";
    case Outcome::drained:
      return "drained";
    case Outcome::stopped:
      return "stopped";
    case Outcome::cancelled:
      return "cancelled";
  }
  return "?";
}

std::string PipelineReport::imbalance() const {
  for (const OperatorReport& op : operators) {
    const std::uint64_t out =
        op.processed + op.filtered + op.skipped + op.dead_lettered + op.failed + op.late;
    if (op.in != out) {
      return fmt::format("operator '{}' took {} records and accounts for {}", op.name, op.in, out);
    }
  }
  for (const EdgeReport& edge : edges) {
    if (edge.sent != edge.received + edge.discarded()) {
      return fmt::format("from '{}' to '{}' {} records were sent, {} received and {} discarded", edge.from,
                         edge.to, edge.sent, edge.received, edge.discarded());
    }
  }
  return "";
}

std::string PipelineReport::json() const {
  json::array released;
  for (const model::ReleaseRecord& record : releases)
    released.push_back(json::parse(model::json_text(record)));
  const json::object object{{"name", name},
                            {"ok", ok},
                            {"ended", ended},
                            {"outcome", ended ? json::value(to_string(outcome)) : json::value(nullptr)},
                            {"failed_at", nullable(failed_at)},
                            {"error", nullable(error)},
                            {"took_ms", static_cast<double>(took.count()) / 1e3},
                            {"operators", array_of(operators)},
                            {"edges", array_of(edges)},
                            {"stages", array_of(stages)},
                            {"services", array_of(services)},
                            {"releases", std::move(released)}};
  return json::serialize(object);
}

std::string PipelineReport::dot() const {
  std::string out = "digraph " + quoted(name) + " {\n  rankdir=LR;\n  node [shape=box];\n";
  for (const OperatorReport& op : operators) {
    out += fmt::format("  {} [label={}];\n", quoted(op.name),
                       quoted(fmt::format("{} x{}", op.name, op.replicas)));
  }
  for (const EdgeReport& edge : edges) {
    out += fmt::format("  {} -> {} [label={}];\n", quoted(edge.from), quoted(edge.to),
                       quoted(edge.discarded() == 0 ? fmt::to_string(edge.sent)
                                                    : fmt::format("{} of {}", edge.received, edge.sent)));
  }
  return out + "}\n";
}

std::ostream& operator<<(std::ostream& out, const PipelineReport& report) {
  out << "pipeline " << report.name << ": " << (report.ended ? to_string(report.outcome) : "running") << " ("
      << format_duration(report.took) << ")\n";
  if (!report.error.empty()) out << "  failed at '" << report.failed_at << "': " << report.error << '\n';
  print_operators(out, report);
  print_losses(out, report.edges);
  for (const ServiceReport& service : report.services) {
    out << fmt::format("  service {}: {}, {} calls", service.name, life_of(service), service.calls);
    if (service.latency.samples != 0) out << ", p99 " << format_us(service.latency.p99_us);
    if (!service.error.empty()) out << ": " << service.error;
    out << '\n';
  }
  return out;
}

}  // namespace ebb
