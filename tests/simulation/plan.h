#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/engine/types.h"
#include "random.h"
#include "scheduler.h"

namespace ebb::simulation {

/// What may go wrong. Each seed has some of them: a history with all at once hides what two of them do.
enum class Fault : std::uint8_t {
  crash,         ///< the daemon dies between any two of its steps
  reboot,        ///< the machine does
  keeper_death,  ///< SIGKILL at a keeper
  keeper_stop,   ///< SIGSTOP at a keeper
  slow_start,    ///< keepers and programs take seconds to come up
  no_start,      ///< they do not come up at all
  slow_disk,     ///< commits take up to ten seconds
  bad_disk,      ///< commits fail, for a while or for good
  driver,        ///< GPUs that do not answer
  residue,       ///< GPUs that stay in use after the last process
  outside,       ///< GPUs and ports used by others
  stuck,         ///< processes that no signal ends
  stubborn,      ///< processes that ignore TERM, and such that leave children
  network,       ///< requests and answers that are late, lost, doubled
  owner,         ///< owners that go, come back, stop
  cancel,        ///< at any moment, several times
  drain,
  shutdown,
  clock,  ///< somebody sets the wall clock
};
inline constexpr std::size_t kFaults = 19;
[[nodiscard]] std::string_view name_of(Fault fault);
[[nodiscard]] std::optional<Fault> fault_named(std::string_view name);

/// Errors that are put into the simulated shell to see whether the oracle finds them.
enum class Mutant : std::uint8_t {
  none,
  frees_early,         ///< a lease is given back before the GPU was verified free
  starts_early,        ///< an attempt is started before it is on disk
  forgets_keepers,     ///< recovery takes a living keeper for none
  answers_early,       ///< a submission is acknowledged before it is on disk
  drops_stops,         ///< a stop does not reach the keeper
  never_ticks,         ///< nobody tells the engine that time has passed
  drops_failed,        ///< a commit that failed is not tried again
  forgets_keys,        ///< idempotency keys are not looked up
  skips_checks,        ///< GPUs are leased without asking the driver
  hides_survivors,     ///< a report calls released what a process still holds
  keeps_locks,         ///< a lock is not given back at the end
  overtakes,           ///< the engine is told a longer limit for overtaking than was configured
  reports_again,       ///< recovery restores what has ended
  forgets_quarantine,  ///< a GPU that comes free is not told
  looks_once,          ///< after a start, a quarantined GPU is looked at once only
};
inline constexpr std::size_t kMutants = 16;
[[nodiscard]] std::string_view name_of(Mutant mutant);
[[nodiscard]] std::optional<Mutant> mutant_named(std::string_view name);

/// What a run is asked to be, besides its seed; a failure is made smaller by these.
struct Options {
  std::uint32_t without = 0;  ///< a bit for each Fault that must not happen
  int most_jobs = 12;
  Mutant mutant = Mutant::none;
  bool trace = false;
};

/// What a seed decides before anything happens.
struct Plan {
  std::uint64_t seed = 0;
  std::uint32_t faults = 0;
  Mutant mutant = Mutant::none;
  engine::Machine machine;
  engine::Limits limits;
  int clients = 0;
  bool dies_with_keeper = false;  ///< the whole tree does (PID namespace); else its leader only
  Moment calm{};                  ///< when faults stop
  Moment unstuck{};               ///< when the last unkillable process goes

  [[nodiscard]] bool has(Fault fault) const { return ((faults >> static_cast<unsigned>(fault)) & 1U) != 0; }
};
[[nodiscard]] Plan make_plan(std::uint64_t seed, const Options& options, Random& random);

}  // namespace ebb::simulation
