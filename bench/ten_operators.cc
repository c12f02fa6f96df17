// What bench/run compiles to measure the compiler's time: a pipeline of ten operators, most of another type.

#include <ebb/flow.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <utility>

namespace {

struct Reading {
  std::uint32_t sensor = 0;
  double value = 0;
};

}  // namespace

int main() {
  ebb::LocalEnvironment env("ten operators");
  std::uint32_t made = 0;
  env.from_source([made]() mutable { return made < 100'000 ? std::optional(made++) : std::nullopt; })
      .filter([](std::uint32_t n) { return n % 3 != 0; })
      .map([](std::uint32_t n) { return Reading{n % 50, n * 0.5}; })
      .flat_map<Reading>([](const Reading& reading, auto& emit) {
        emit(reading);
        emit(Reading{reading.sensor + 50, reading.value});
      })
      .map([](Reading reading) {
        reading.value = (reading.value - 32) / 1.8;
        return reading;
      })
      .key_by([](const Reading& reading) { return reading.sensor; })
      .running_reduce([](const Reading& a, const Reading& b) { return Reading{a.sensor, a.value + b.value}; })
      .filter([](const Reading& reading) { return reading.value > 100; })
      .map([](const Reading& reading) { return std::pair(reading.sensor / 10, reading.value); })
      .map([](const std::pair<std::uint32_t, double>& group) {
        return std::to_string(group.first) + " " + std::to_string(group.second);
      })
      .take(1000)
      .sink([](const std::string& line) { std::cout << line << "\n"; });
  std::cout << env.submit({.autostop = true});
}
