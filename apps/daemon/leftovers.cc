#include "leftovers.h"

#include <poll.h>

#include <set>

#include "ebb/devices/locks.h"
#include "ebb/devices/ports.h"
#include "ebb/process/spawn.h"
#include "shared_memory.h"

namespace ebb::cli {
namespace {

constexpr std::size_t kPage = 1000;

// What the daemon says should live.
struct Belief {
  process::Expected expected;
  std::vector<std::string> devices;  ///< those that it has not got back, in words
  std::uint16_t first_port = 0, last_port = 0;
};

bool is_held(model::DeviceState state) {
  return state == model::DeviceState::leased || state == model::DeviceState::releasing ||
         state == model::DeviceState::quarantined;
}

Result<void> add_living(client::Client& client, Belief& belief) {
  std::string cursor;
  do {
    auto list = client.get_as<model::JobList>(
        "/v1/jobs?state=starting,running,releasing&limit=" + std::to_string(kPage) +
        (cursor.empty() ? "" : "&cursor=" + client::percent_encoded(cursor)));
    if (!list) return list.error();
    for (const model::Job& job : list->items) {
      belief.expected.living.insert({.job = job.id, .number = static_cast<std::uint32_t>(job.attempt)});
    }
    cursor = list->next_cursor.value_or("");
  } while (!cursor.empty());
  return {};
}

// A quarantined device is held by an attempt that has ended, and of which something may still be there.
void add_quarantined(client::Client& client, const std::optional<JobId>& id, Belief& belief) {
  if (!id) return;
  if (const auto job = client.get_as<model::Job>("/v1/jobs/" + id->str())) {
    belief.expected.living.insert({.job = *id, .number = static_cast<std::uint32_t>(job->attempt)});
  }
}

Result<Belief> ask(client::Client& client, pid_t daemon) {
  Belief belief;
  belief.expected.daemon = daemon;
  if (auto added = add_living(client, belief); !added) return added.error();
  auto devices = client.get_as<model::Devices>("/v1/devices");
  if (!devices) return devices.error();
  for (const model::Gpu& gpu : devices->gpus) {
    if (is_held(gpu.state)) belief.expected.locks.insert("gpu-" + gpu.uuid);
    if (gpu.state != model::DeviceState::quarantined && gpu.state != model::DeviceState::unknown) continue;
    belief.devices.push_back("GPU " + std::to_string(gpu.id) + " is " +
                             std::string(model::name_of(gpu.state)) + (gpu.why ? ": " + *gpu.why : ""));
    add_quarantined(client, gpu.job, belief);
  }
  for (const model::Port& port : devices->ports) {
    if (is_held(port.state)) {
      belief.expected.locks.insert(devices::port_lock_name(static_cast<std::uint16_t>(port.port)));
    }
    if (port.state != model::DeviceState::quarantined) continue;
    belief.devices.push_back("port " + std::to_string(port.port) + " is quarantined" +
                             (port.why ? ": " + *port.why : ""));
    add_quarantined(client, port.job, belief);
  }
  if (!devices->ports.empty()) {
    belief.first_port = static_cast<std::uint16_t>(devices->ports.front().port);
    belief.last_port = static_cast<std::uint16_t>(devices->ports.back().port);
  }
  return belief;
}

// What a daemon locks for itself and not for a job: its slot among the daemons that reserve ports.
void add_own_locks(const process::Census& census, process::Expected& expected) {
  for (const process::CensusLock& lock : census.locks) {
    if (!lock.name.starts_with("gpu-") && !lock.name.starts_with("port-")) expected.locks.insert(lock.name);
  }
}

// With no daemon, jobs go on under their keepers: an attempt with a living keeper is where it should be.
Belief belief_without_daemon(const process::Census& census) {
  Belief belief;
  for (const process::CensusProcess& found : census.processes) {
    if (!found.keeper || !found.attempt) continue;
    belief.expected.living.insert(*found.attempt);
  }
  for (const process::CensusLock& lock : census.locks) {
    for (const process::CensusHolder& holder : lock.holders) {
      if (holder.comm == "ebb-keeper") belief.expected.locks.insert(lock.name);
    }
  }
  return belief;
}

// Keepers that speak another version of the protocol: the daemon leaves them, and what they hold, alone.
// Asked only beside a daemon that lives, since to a keeper without one this would look like a new one.
void add_foreign_keepers(const process::Census& census, std::vector<process::Leftover>& leftovers) {
  constexpr int kAnswerMs = 1000;
  for (const process::CensusAttempt& attempt : census.attempts) {
    if (!attempt.socket) continue;
    auto link = process::KeeperLink::connect(attempt.folder);
    if (!link) continue;
    pollfd welcome{.fd = link->fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&welcome, 1, kAnswerMs);
    const auto said = link->receive();
    if (said || said.error().code != Errc::conflict) continue;
    leftovers.push_back({.kind = process::Leftover::Kind::keeper,
                         .what = "keeper of attempt " + attempt.attempt.str(),
                         .detail = said.error().message + "; it is not adopted, and what it holds stays held",
                         .advice = "wait for its job, or end both: ebb cancel " + attempt.attempt.job.str(),
                         .attempt = attempt.attempt,
                         .process = {}});
  }
}

class Audit {
 public:
  Audit(std::optional<client::Client> client, DaemonPlaces places)
      : client_(std::move(client)), places_(std::move(places)) {}

  // Two looks, each between two questions: what is only on its way out, or only just begun, is in neither.
  Result<Findings> take() {
    auto first = look();
    if (!first) return first.error();
    if (first->leftovers.empty()) return first;
    wait_for_ends(first->leftovers);
    auto second = look();
    if (!second) return second.error();
    second->leftovers = process::confirm(first->leftovers, std::move(second->leftovers));
    return second;
  }

 private:
  Result<Findings> look() {
    if (!client_) {
      const auto census = process::take_census(census_places(0, 0));
      return Findings{.leftovers = process::compare(census, belief_without_daemon(census).expected),
                      .devices = {},
                      .unseen = census.unseen};
    }
    auto before = ask(*client_, places_.pid);
    if (!before) return before.error();
    const auto census = process::take_census(census_places(before->first_port, before->last_port));
    auto after = ask(*client_, places_.pid);
    if (!after) return after.error();
    const auto jobs = known_jobs(census);
    const auto shared = sharing_attempts(*client_, places_.config, census);
    for (Belief* belief : {&*before, &*after}) {
      belief->expected.jobs = jobs;
      belief->expected.shared = shared;
      add_own_locks(census, belief->expected);
    }
    auto leftovers = process::confirm(process::compare(census, before->expected),
                                      process::compare(census, after->expected));
    add_foreign_keepers(census, leftovers);
    return Findings{.leftovers = std::move(leftovers), .devices = after->devices, .unseen = census.unseen};
  }

  // Those jobs of the census that this daemon knows, so that their leftovers count as its own.
  std::set<JobId> known_jobs(const process::Census& census) {
    std::set<JobId> jobs;
    const auto add = [&](const std::optional<AttemptId>& attempt) {
      if (!attempt || jobs.contains(attempt->job)) return;
      const auto job = client_->get("/v1/jobs/" + attempt->job.str());
      if (job || job.error().type == "job-dropped") jobs.insert(attempt->job);  // forgotten, but its own
    };
    for (const auto& found : census.processes) add(found.attempt);
    for (const auto& found : census.cgroups) add(found.attempt);
    for (const auto& found : census.scratch) add(found.attempt);
    for (const auto& found : census.listeners) add(found.attempt);
    return jobs;
  }

  [[nodiscard]] process::CensusPlaces census_places(std::uint16_t first, std::uint16_t last) const {
    const daemon::Config& config = places_.config;
    process::CensusPlaces places;
    places.state_dir = config.state.dir.string();
    places.server = config.server.socket.string();
    places.scratch = config.jobs.scratch.string();
    const char* locks = std::getenv("EBB_LOCK_DIR");
    places.lock_dirs = {locks != nullptr && *locks != '\0' ? locks : devices::LockDirectory::kDefault,
                        (config.state.dir / "locks").string()};
    places.first_port = first;
    places.last_port = last;
    if (first == 0 && config.ports.range) {
      if (const auto range = devices::parse_port_range(*config.ports.range)) {
        places.first_port = range->from;
        places.last_port = range->to;
      }
    }
    return places;
  }

  // Processes that were just about to go get a second for it.
  static void wait_for_ends(const std::vector<process::Leftover>& leftovers) {
    const BootTime deadline = BootClock::now() + std::chrono::seconds(1);
    for (const process::Leftover& leftover : leftovers) {
      if (!leftover.process) continue;
      const auto pidfd = leftover.process->open_if_same();
      if (!pidfd) continue;
      pollfd poll{.fd = pidfd->get(), .events = POLLIN, .revents = 0};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
      if (left > 0) (void)::poll(&poll, 1, static_cast<int>(left));
    }
  }

  std::optional<client::Client> client_;
  DaemonPlaces places_;
};

}  // namespace

Result<Findings> find_leftovers(std::optional<client::Client> client, const DaemonPlaces& places) {
  return Audit(std::move(client), places).take();
}

}  // namespace ebb::cli
