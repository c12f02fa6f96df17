#include "report_of.h"

#include <sys/uio.h>
#include <unistd.h>

#include <bit>

#include "ebb/base/clock.h"

namespace ebb::flow {
namespace {

std::uint64_t get(const std::atomic<std::uint64_t>& count) { return count.load(std::memory_order_relaxed); }

OperatorReport report_of(const Operator& op, BootTime now) {
  OperatorReport all;
  Quantiles took;
  all.name = op.name;
  all.kind = op.kind;
  all.replicas = static_cast<int>(op.slots.size());
  for (const auto& slot : op.slots) {
    all.in += get(slot->counts.in);
    all.processed += get(slot->counts.processed);
    all.filtered += get(slot->counts.filtered);
    all.skipped += get(slot->counts.skipped);
    all.dead_lettered += get(slot->counts.dead_lettered);
    all.failed += get(slot->counts.failed);
    all.late += get(slot->counts.late);
    all.emitted += get(slot->counts.emitted);
    const auto rate = [&](int minutes) {
      return slot->counts.history.rate(now, get(slot->counts.in), std::chrono::minutes(minutes));
    };
    all.rates.over_1_min += rate(1);
    all.rates.over_5_min += rate(5);
    all.rates.over_60_min += rate(60);
    took.add(slot->context.worker().latency());
  }
  all.latency = latency_of(took);
  return all;
}

// Between two operators of one chain: what the first emitted went to the second, or was dropped before it.
EdgeReport report_of(const Operator& from, const Operator& to) {
  EdgeReport edge;
  edge.from = from.name;
  edge.to = to.name;
  for (const auto& slot : from.slots) edge.sent += get(slot->counts.emitted);
  for (const auto& slot : to.slots) {
    edge.received += get(slot->counts.in);
    const auto discarded = [&](Discard reason) {
      return get(slot->counts.discarded[static_cast<std::size_t>(reason)]);
    };
    edge.discarded_by_cancel += discarded(Discard::cancel);
    edge.discarded_by_end += discarded(Discard::consumer_ended);
    edge.discarded_by_failure += discarded(Discard::failure);
  }
  return edge;
}

EdgeReport report_of(const EdgeBase& edge) {
  const EdgeBase::Traffic traffic = edge.traffic();
  const auto discarded = [&](Discard reason) { return traffic.discarded[static_cast<std::size_t>(reason)]; };
  EdgeReport report;
  report.from = edge.from().name;
  report.to = edge.consumer()->operators.front()->name;
  report.sent = traffic.sent;
  report.received = traffic.received;
  report.discarded_by_cancel = discarded(Discard::cancel);
  report.discarded_by_end = discarded(Discard::consumer_ended);
  report.discarded_by_failure = discarded(Discard::failure);
  report.most_waiting = traffic.most;
  report.capacity = traffic.capacity;
  return report;
}

// The pointer is written without a lock by its thread, so a read of it would be a race in C++; the kernel's
// copy of it is none, and a word is never torn.
const Operator* operator_of(const Worker& worker) {
  std::uintptr_t word = 0;
  iovec local{.iov_base = &word, .iov_len = sizeof word};
  iovec remote{.iov_base = const_cast<void*>(static_cast<const void*>(&worker.at)), .iov_len = sizeof word};
  if (::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) != sizeof word) return nullptr;
  return std::bit_cast<const Operator*>(word);
}

std::string words(Doing doing, const std::string* what) {
  const std::string name = what != nullptr ? " '" + *what + "'" : "";
  switch (doing) {
    case Doing::opening:
      return "is in its open()";
    case Doing::working:
      return "is in its function";
    case Doing::waiting:
      return "waits for records";
    case Doing::blocked:
      return "waits for room before" + name;
    case Doing::calling:
      return "waits for a slot of service" + name;
    case Doing::answers:
      return "waits for answers to its calls";
    case Doing::backoff:
      return "waits before it tries a record again";
    case Doing::closing:
      return "is in its finish(), commit() or close()";
    case Doing::through:
      return "waits for the others before it commits";
    case Doing::ended:
      return "has ended";
  }
  return "";
}

}  // namespace

Latency latency_of(const Quantiles& took) noexcept {
  return {
      .samples = took.samples(), .p50_us = took.at(0.5), .p95_us = took.at(0.95), .p99_us = took.at(0.99)};
}

void report_graph(const Graph& graph, BootTime now, PipelineReport& report) {
  for (const auto& op : graph.operators) report.operators.push_back(report_of(*op, now));
  for (const auto& stage : graph.stages) {
    for (std::size_t i = 1; i < stage->operators.size(); ++i) {
      report.edges.push_back(report_of(*stage->operators[i - 1], *stage->operators[i]));
    }
  }
  for (const auto& edge : graph.edges) report.edges.push_back(report_of(*edge));
}

void report_stages(const Graph& graph, const std::map<const Stage*, std::vector<const Worker*>>& workers,
                   PipelineReport& report) {
  for (const auto& stage : graph.stages) {
    const auto found = workers.find(stage.get());
    if (found == workers.end()) continue;
    StageReport one;
    for (const Operator* op : stage->operators) one.operators.push_back(op->name);
    one.replicas = static_cast<int>(found->second.size());
    for (const Worker* worker : found->second) {
      one.blocked += worker->blocked();
      one.waiting += worker->waited();
      one.busy += worker->lived() - worker->blocked() - worker->waited();
    }
    report.stages.push_back(std::move(one));
  }
}

std::string describe(const Stage& stage, const Worker& worker) {
  const Operator* at = operator_of(worker);
  const std::string& name = (at != nullptr ? at : stage.operators.front())->name;
  return "operator '" + name + "', which " + words(worker.doing(), worker.waits_for());
}

}  // namespace ebb::flow
