// keeper_loop JOBS AT_ONCE: runs JOBS attempts of /bin/true under keepers with all containment that this
// machine gives, AT_ONCE at a time, with no daemon and no database; prints the seconds that it took.

#include <poll.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/programs.h"
#include "ebb/process/attempts_folder.h"
#include "ebb/process/containment.h"
#include "ebb/process/spawn.h"

namespace {

using namespace ebb;
using namespace ebb::process;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "keeper_loop: %s\n", what.c_str());
  std::exit(1);
}

struct Slot {
  StartedKeeper keeper;
  LaunchSpec spec;
};

Slot start(const Containment& containment, KeeperStarter& starter, const std::string& folder, int number,
           const std::vector<std::string>& argv) {
  LaunchSpec spec;
  spec.label = std::to_string(number);
  spec.argv = argv;
  spec.workdir.assign(1, '/');  // g++ 12 takes the assignment of a literal for an overlapping copy
  spec.attempt_dir = folder + "/" + spec.label;
  spec.grace = std::chrono::seconds(2);
  spec.kill_timeout = std::chrono::seconds(5);
  std::filesystem::create_directory(spec.attempt_dir);
  contain(spec, containment, 0, 0);
  if (spec.tiers.cgroup) {
    if (const auto made = make_attempt_cgroup(spec.cgroup); !made) give_up(made.error().message);
  }
  auto keeper = starter.start(spec, {});
  if (!keeper) give_up(keeper.error().message);
  return {std::move(*keeper), std::move(spec)};
}

/// Reads what the keeper says; true when the attempt is over and cleaned up.
bool advance(Slot& slot) {
  auto received = slot.keeper.link.receive();
  if (!received) give_up(received.error().message);
  for (const KeeperEvent& event : received->events) {
    if (!std::holds_alternative<Ended>(event)) continue;
    if (const auto sent = slot.keeper.link.send(Ack{}); !sent) give_up(sent.error().message);
  }
  if (!received->closed) return false;
  pollfd gone{.fd = slot.keeper.pidfd.get(), .events = POLLIN, .revents = 0};
  ::poll(&gone, 1, -1);
  if (const auto reaped = reap_keeper(slot.keeper); !reaped) give_up(reaped.error().message);
  if (slot.spec.tiers.cgroup) {
    const auto removed = remove_cgroup(slot.spec.cgroup, BootClock::now() + std::chrono::seconds(5));
    if (!removed) give_up(removed.error().message);
  }
  return true;
}

void loop(const Containment& containment, KeeperStarter& starter, const std::string& folder, int jobs,
          std::size_t at_once) {
  std::vector<Slot> slots;
  for (int started = 0; started < jobs || !slots.empty();) {
    while (started < jobs && slots.size() < at_once) {
      slots.push_back(start(containment, starter, folder, started++, {"/bin/true"}));
    }
    std::vector<pollfd> wait;
    for (const Slot& slot : slots)
      wait.push_back({.fd = slot.keeper.link.fd(), .events = POLLIN, .revents = 0});
    if (::poll(wait.data(), wait.size(), 20000) <= 0) give_up("nothing happened for 20 s");
    for (std::size_t i = slots.size(); i-- > 0;) {
      if (wait[i].revents == 0 || !advance(slots[i])) continue;
      std::swap(slots[i], slots.back());
      slots.pop_back();
    }
  }
}

void end(Slot& slot) {
  if (const auto sent = slot.keeper.link.send(Kill{.reason = "switch"}); !sent) give_up(sent.error().message);
  do {
    pollfd wait{.fd = slot.keeper.link.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, 20000) <= 0) give_up("nothing happened for 20 s");
  } while (!advance(slot));
}

void switch_on_lines(const Containment& containment, KeeperStarter& starter, const std::string& folder,
                     const std::vector<std::string>& argv) {
  int number = 0;
  Slot slot = start(containment, starter, folder, number++, argv);
  while (std::getchar() != EOF) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    std::printf("%lld\n", static_cast<long long>(now.tv_sec) * 1000000000 + now.tv_nsec);
    std::fflush(stdout);
    end(slot);
    slot = start(containment, starter, folder, number++, argv);
  }
  end(slot);
}

}  // namespace

int main(int argc, char** argv) {
  const bool switches = argc == 4 && std::string(argv[1]) == "switch";
  const int jobs = argc == 3 ? std::atoi(argv[1]) : 0;
  const int at_once = argc == 3 ? std::atoi(argv[2]) : 0;
  if (!switches && (jobs < 1 || jobs > 100000 || at_once < 1 || at_once > 256)) {
    give_up("usage: keeper_loop JOBS AT_ONCE | keeper_loop switch PROGRAM ARGUMENT");
  }
  std::string folder = (std::filesystem::temp_directory_path() / "ebb-keeper-loop-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) give_up("cannot make " + folder);
  const auto program = find_program("ebb-keeper");
  if (!program) give_up(program.error().message);
  const auto containment = probe_containment({.state_dir = folder});
  if (!containment) give_up(containment.error().message);
  const auto attempts = prepare_attempts({.state_dir = folder, .places = memory_places(), .begun = {}});
  if (!attempts) give_up(attempts.error().message);

  KeeperStarter starter(program->string());
  const BootTime begin = BootClock::now();
  if (switches) {
    switch_on_lines(*containment, starter, attempts->string(), {argv[2], argv[3]});
  } else {
    loop(*containment, starter, attempts->string(), jobs, static_cast<std::size_t>(at_once));
    const std::chrono::duration<double> took = BootClock::now() - begin;
    std::printf("%.6f\n", took.count());
  }
  remove_bases(*containment);
  std::filesystem::remove_all(*attempts);
  std::filesystem::remove_all(folder);
}
