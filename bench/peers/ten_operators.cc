// The pipeline of bench/ten_operators.cc as a graph of oneTBB, to compare what both cost to compile.

#include <tbb/flow_graph.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace {

struct Reading {
  std::uint32_t sensor = 0;
  double value = 0;
};
using Group = std::pair<std::uint32_t, double>;

}  // namespace

int main() {
  namespace flow = tbb::flow;
  flow::graph graph;
  std::uint32_t made = 0, taken = 0;
  std::unordered_map<std::uint32_t, double> sums;

  flow::input_node<std::uint32_t> source(graph, [&](tbb::flow_control& control) {
    if (made == 100'000) control.stop();
    return made++;
  });
  using Numbers = flow::multifunction_node<std::uint32_t, std::tuple<std::uint32_t>>;
  Numbers sifted(graph, flow::serial, [](std::uint32_t n, Numbers::output_ports_type& out) {
    if (n % 3 != 0) std::get<0>(out).try_put(n);
  });
  flow::function_node<std::uint32_t, Reading> read(graph, flow::serial,
                                                   [](std::uint32_t n) { return Reading{n % 50, n * 0.5}; });
  using Readings = flow::multifunction_node<Reading, std::tuple<Reading>>;
  Readings doubled(graph, flow::serial, [](const Reading& reading, Readings::output_ports_type& out) {
    std::get<0>(out).try_put(reading);
    std::get<0>(out).try_put(Reading{reading.sensor + 50, reading.value});
  });
  flow::function_node<Reading, Reading> celsius(graph, flow::serial, [](Reading reading) {
    reading.value = (reading.value - 32) / 1.8;
    return reading;
  });
  flow::function_node<Reading, Reading> summed(graph, flow::serial, [&](const Reading& reading) {
    return Reading{reading.sensor, sums[reading.sensor] += reading.value};
  });
  Readings large(graph, flow::serial, [](const Reading& reading, Readings::output_ports_type& out) {
    if (reading.value > 100) std::get<0>(out).try_put(reading);
  });
  flow::function_node<Reading, Group> grouped(
      graph, flow::serial, [](const Reading& reading) { return Group(reading.sensor / 10, reading.value); });
  flow::function_node<Group, std::string> written(graph, flow::serial, [](const Group& group) {
    return std::to_string(group.first) + " " + std::to_string(group.second);
  });
  flow::function_node<std::string> printed(graph, flow::serial, [&](const std::string& line) {
    if (taken++ < 1000) std::cout << line << "\n";
  });

  flow::make_edge(source, sifted);
  flow::make_edge(flow::output_port<0>(sifted), read);
  flow::make_edge(read, doubled);
  flow::make_edge(flow::output_port<0>(doubled), celsius);
  flow::make_edge(celsius, summed);
  flow::make_edge(summed, large);
  flow::make_edge(flow::output_port<0>(large), grouped);
  flow::make_edge(grouped, written);
  flow::make_edge(written, printed);
  source.activate();
  graph.wait_for_all();
}
