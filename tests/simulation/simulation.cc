#include "simulation.h"

#include "world.h"

namespace ebb::simulation {

Outcome simulate(std::uint64_t seed, const Options& options) {
  World world(seed, options);
  world.run();
  return {world.oracle.violation(), world.events, world.trace.hash()};
}

Options shrink(std::uint64_t seed, Options options) {
  options.trace = false;
  const auto fails = [&](const Options& smaller) { return !simulate(seed, smaller).violation.empty(); };
  for (unsigned fault = 0; fault < kFaults; ++fault) {
    Options smaller = options;
    smaller.without |= 1U << fault;
    if (smaller.without != options.without && fails(smaller)) options = smaller;
  }
  for (int jobs = 1; jobs < options.most_jobs; ++jobs) {
    Options smaller = options;
    smaller.most_jobs = jobs;
    if (fails(smaller)) return smaller;
  }
  return options;
}

std::string command_for(std::uint64_t seed, const Options& options) {
  std::string text = "tests/simulation/run --first " + std::to_string(seed) + " --seeds 1";
  std::string without;
  for (unsigned fault = 0; fault < kFaults; ++fault)
    if (((options.without >> fault) & 1U) != 0)
      without += (without.empty() ? "" : ",") + std::string(name_of(static_cast<Fault>(fault)));
  if (!without.empty()) text += " --without " + without;
  if (options.most_jobs != Options{}.most_jobs) text += " --jobs " + std::to_string(options.most_jobs);
  if (options.mutant != Mutant::none) text += " --mutant " + std::string(name_of(options.mutant));
  return text + " --trace";
}

}  // namespace ebb::simulation
