#include "plan.h"

#include <algorithm>
#include <array>

namespace ebb::simulation {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::string_view, kFaults> kFaultNames = {
    "crash",    "reboot", "keeper_death", "keeper_stop", "slow_start", "no_start", "slow_disk",
    "bad_disk", "driver", "residue",      "outside",     "stuck",      "stubborn", "network",
    "owner",    "cancel", "drain",        "shutdown",    "clock"};
constexpr std::array<std::string_view, kMutants> kMutantNames = {
    "none",        "frees_early",   "starts_early",       "forgets_keepers", "answers_early",   "drops_stops",
    "never_ticks", "drops_failed",  "forgets_keys",       "skips_checks",    "hides_survivors", "keeps_locks",
    "overtakes",   "reports_again", "forgets_quarantine", "looks_once"};

template <typename Enum, std::size_t N>
std::optional<Enum> find(const std::array<std::string_view, N>& names, std::string_view name) {
  const auto* const found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

std::string_view name_of(Fault fault) { return kFaultNames.at(static_cast<std::size_t>(fault)); }
std::string_view name_of(Mutant mutant) { return kMutantNames.at(static_cast<std::size_t>(mutant)); }
std::optional<Fault> fault_named(std::string_view name) { return find<Fault>(kFaultNames, name); }
std::optional<Mutant> mutant_named(std::string_view name) { return find<Mutant>(kMutantNames, name); }

Plan make_plan(std::uint64_t seed, const Options& options, Random& random) {
  Plan plan;
  plan.seed = seed;
  plan.mutant = options.mutant;
  for (unsigned fault = 0; fault < kFaults; ++fault)
    if (random.chance(3)) plan.faults |= 1U << fault;
  plan.faults &= ~options.without;

  const int gpus = random.number(1, 4);
  for (int id = 0; id < gpus; ++id) plan.machine.gpus.push_back({id, -1, {}});
  const int ports = random.number(0, 3);
  for (int port = 0; port < ports; ++port) plan.machine.ports.push_back(38'000 + port);
  plan.machine.memory_bytes = 400;
  plan.limits.max_running = random.number(1, 6);
  plan.limits.max_queued = 1'000;
  plan.limits.max_per_user = 1'000;
  plan.limits.overtake = random.between(5s, 60s);
  plan.clients = std::min(random.number(2, 12), options.most_jobs);
  plan.dies_with_keeper = random.chance(2);
  plan.calm = random.between(10s, 90s);
  plan.unstuck = plan.calm + 100s;
  return plan;
}

}  // namespace ebb::simulation
