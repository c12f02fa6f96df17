#include "metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "ebb/model/json.h"

namespace ebb::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

MetricFamily family(std::string name, std::string help, MetricType type) {
  MetricFamily made;
  made.name = std::move(name);
  made.help = std::move(help);
  made.type = type;
  return made;
}

void add(MetricFamily& to, double value, Labels labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  if (to.type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  to.metric.push_back(std::move(metric));
}

MetricFamily single(std::string name, std::string help, MetricType type, double value) {
  MetricFamily made = family(std::move(name), std::move(help), type);
  add(made, value);
  return made;
}

template <typename Device>
void add_states(MetricFamily& to, const std::vector<Device>& devices, const std::string& kind) {
  using model::DeviceState;
  for (const auto state : {DeviceState::free, DeviceState::leased, DeviceState::releasing,
                           DeviceState::outside, DeviceState::quarantined, DeviceState::unknown}) {
    const auto count = std::count_if(devices.begin(), devices.end(),
                                     [&](const Device& device) { return device.state == state; });
    add(to, double(count), {{"kind", kind}, {"state", std::string(model::name_of(state))}});
  }
}

}  // namespace

void Metrics::count(std::string_view method, std::string_view route, int status, double seconds) {
  RouteCounts& counts = routes_[{method, route}];
  ++counts.by_status[status];
  ++counts.latency.count;
  counts.latency.sum += seconds;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    if (seconds <= kBounds[i]) ++counts.latency.up_to[i];
  }
}

std::string Metrics::text(const daemon::Daemon& daemon, const model::Devices& devices,
                          std::size_t connections) const {
  const auto counters = daemon.counters();
  std::vector<MetricFamily> all;
  all.push_back(single("ebb_jobs_submitted_total", "Jobs accepted since the daemon started",
                       MetricType::Counter, double(counters.submitted)));
  all.push_back(single("ebb_attempts_started_total", "Attempts started since the daemon started",
                       MetricType::Counter, double(counters.started)));
  all.push_back(single("ebb_jobs_ended_total", "Jobs ended since the daemon started", MetricType::Counter,
                       double(counters.ended)));
  all.push_back(single("ebb_jobs_queued", "Jobs that wait", MetricType::Gauge, double(counters.queued)));
  all.push_back(single("ebb_jobs_active", "Jobs that start, run or are being released", MetricType::Gauge,
                       double(counters.active)));
  all.push_back(
      single("ebb_ready", "Whether submissions are accepted", MetricType::Gauge, daemon.ready() ? 1 : 0));
  all.push_back(single("ebb_http_connections", "Open connections", MetricType::Gauge, double(connections)));

  MetricFamily states = family("ebb_devices", "GPUs and ports by state", MetricType::Gauge);
  add_states(states, devices.gpus, "gpu");
  add_states(states, devices.ports, "port");
  all.push_back(std::move(states));

  MetricFamily requests =
      family("ebb_http_requests_total", "Requests by route and status", MetricType::Counter);
  MetricFamily latency =
      family("ebb_http_request_seconds", "Time to the end of the answer", MetricType::Histogram);
  for (const auto& [key, counts] : routes_) {
    const Labels labels = {{"method", std::string(key.first)}, {"route", std::string(key.second)}};
    for (const auto& [status, count] : counts.by_status) {
      Labels with_status = labels;
      with_status.push_back({"status", std::to_string(status)});
      add(requests, double(count), std::move(with_status));
    }
    ClientMetric metric;
    metric.label = labels;
    metric.histogram.sample_count = counts.latency.count;
    metric.histogram.sample_sum = counts.latency.sum;
    for (std::size_t i = 0; i < kBounds.size(); ++i) {
      metric.histogram.bucket.push_back({counts.latency.up_to[i], kBounds[i]});
    }
    latency.metric.push_back(std::move(metric));
  }
  all.push_back(std::move(requests));
  all.push_back(std::move(latency));
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace ebb::server
