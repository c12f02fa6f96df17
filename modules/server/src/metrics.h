#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "ebb/daemon/daemon.h"

namespace ebb::server {

/// Counts requests; the rest of /metrics is read from the daemon when somebody asks.
class Metrics {
 public:
  void count(std::string_view method, std::string_view route, int status, double seconds);
  /// The Prometheus text format.
  [[nodiscard]] std::string text(const daemon::Daemon& daemon, const model::Devices& devices,
                                 std::size_t connections) const;

 private:
  static constexpr std::array kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0};
  struct Latency {
    std::uint64_t count = 0;
    double sum = 0;
    std::array<std::uint64_t, kBounds.size()> up_to{};  ///< each counts those of the ones before too
  };
  struct RouteCounts {
    std::map<int, std::uint64_t> by_status;
    Latency latency;
  };
  std::map<std::pair<std::string_view, std::string_view>, RouteCounts>
      routes_;  // keys live in the route table
};

}  // namespace ebb::server
