#include <sys/utsname.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "commands.h"
#include "daemon_places.h"
#include "ebb/base/programs.h"
#include "ebb/devices/inventory.h"
#include "ebb/devices/nvml_client.h"
#include "ebb/devices/ports.h"
#include "ebb/process/containment.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

struct Finding {
  std::string name;
  bool good = false;
  std::string what;
  std::string todo;
};

Finding of_capability(const std::string& name, const process::Capability& capability,
                      const std::string& good) {
  if (capability.available) return {.name = name, .good = true, .what = good, .todo = {}};
  return {.name = name, .good = false, .what = capability.why_not, .todo = capability.what_to_do};
}

std::string_view mechanism_text(process::LimitMechanism mechanism) {
  switch (mechanism) {
    case process::LimitMechanism::cgroup2:
      return "enforced by cgroup v2";
    case process::LimitMechanism::cgroup1:
      return "enforced by a cgroup v1 group";
    case process::LimitMechanism::pid_max:
      return "enforced by the PID namespace's pid_max";
    case process::LimitMechanism::none:
      break;
  }
  return "not enforced";
}

void look_at_containment(const DaemonPlaces& places, std::vector<Finding>& findings) {
  const auto found =
      process::probe_containment({.state_dir = places.config.state.dir.string(), .may_move = false});
  // The probe makes the daemon's base group; where no daemon uses it, and no job, it goes again.
  if (found && places.pid == 0 && !found->cgroup_base.empty()) ::rmdir(found->cgroup_base.c_str());
  if (!found) {
    findings.push_back({.name = "containment", .good = false, .what = found.error().message, .todo = {}});
    return;
  }
  findings.push_back({.name = "containment",
                      .good = true,
                      .what = "tier " + process::tier_text(found->tiers()),
                      .todo = {}});
  findings.push_back(of_capability("cgroup v2", found->cgroup, "a fresh group for each attempt"));
  findings.push_back(of_capability(
      "namespaces", found->pidns,
      found->user_namespace ? "PID and mount namespaces, in a user namespace" : "PID and mount namespaces"));
  findings.push_back(of_capability("subreaper", found->subreaper, "orphans come to the keeper"));
  findings.push_back(
      of_capability("--memory", found->memory, std::string(mechanism_text(found->memory_mechanism))));
  findings.push_back(of_capability("process limit", found->processes,
                                   std::string(mechanism_text(found->processes_mechanism))));
}

void look_at_gpus(std::vector<Finding>& findings) {
  const auto helper = find_program("ebb-nvml");
  if (!helper) {
    findings.push_back({.name = "GPU driver", .good = false, .what = helper.error().message, .todo = {}});
    return;
  }
  boost::asio::io_context io;
  std::optional<Result<devices::NvmlList>> answer;
  {
    devices::NvmlClient nvml(io, *helper);
    nvml.list(std::chrono::seconds(10), [&](Result<devices::NvmlList> list) {
      answer.emplace(std::move(list));
      io.stop();
    });
    io.run();
  }
  if (!answer || !*answer) {
    findings.push_back({.name = "GPU driver",
                        .good = false,
                        .what = answer ? answer->error().message : "no answer",
                        .todo = "without one GPUs can be declared: ebb serve --gpus declared:4"});
    return;
  }
  const auto inventory = devices::take_inventory({}, *answer);
  const std::size_t count = inventory ? inventory->gpus.size() : 0;
  findings.push_back({.name = "GPU driver",
                      .good = true,
                      .what = (**answer).driver + ", " + std::to_string(count) + " GPUs offered",
                      .todo = {}});
  if (!inventory) return;
  for (const std::string& note : inventory->notes) {
    findings.push_back({.name = "GPU", .good = false, .what = note, .todo = {}});
  }
}

void look_at_locks(std::vector<Finding>& findings) {
  const auto locks = devices::LockDirectory::open_machine_wide();
  findings.push_back({.name = "lock directory",
                      .good = locks.ok(),
                      .what = locks ? locks->path().string() : locks.error().message,
                      .todo = {}});
}

std::vector<Finding> look(const ServerOption& server, const DaemonPlaces& places) {
  std::vector<Finding> findings;
  auto client = server.connect();
  if (client) {
    findings.push_back({.name = "daemon",
                        .good = true,
                        .what = client->endpoint().text() +
                                (places.pid != 0 ? ", pid " + std::to_string(places.pid) : std::string()),
                        .todo = {}});
  } else {
    findings.push_back({.name = "daemon", .good = false, .what = client.error().message, .todo = {}});
  }
  utsname kernel{};
  ::uname(&kernel);
  findings.push_back({.name = "kernel", .good = true, .what = kernel.release, .todo = {}});
  findings.push_back(
      {.name = "state directory", .good = true, .what = places.config.state.dir.string(), .todo = {}});
  look_at_containment(places, findings);
  look_at_gpus(findings);
  look_at_locks(findings);
  const auto keeper = find_program("ebb-keeper");
  findings.push_back({.name = "ebb-keeper",
                      .good = keeper.ok(),
                      .what = keeper ? keeper->string() : keeper.error().message,
                      .todo = {}});
  findings.push_back(
      {.name = "Ray", .good = false, .what = "this version does not run Ray jobs", .todo = {}});
  return findings;
}

}  // namespace

int doctor_main(Words words) {
  Parser parser("doctor",
                "What this machine gives to Ebb: containment, limits, GPUs, and what to do about each lack",
                "ebb doctor");
  const ServerOption server(parser);
  bool json = false;
  parser.add_flag("--json", json, "print what was found as JSON");
  if (const auto status = parser.read(std::move(words))) return *status;

  // Without a daemon it looks at what one would find that is started here and now.
  const auto client = server.connect();
  const bool local = client && client->endpoint().kind == client::Endpoint::Kind::socket;
  const auto places = find_places(local ? &*client : nullptr, "");
  if (!places) return fail(places.error());
  const auto findings = look(server, *places);
  if (json) {
    boost::json::array items;
    for (const Finding& finding : findings) {
      items.push_back(
          {{"name", finding.name}, {"good", finding.good}, {"what", finding.what}, {"todo", finding.todo}});
    }
    print_json(boost::json::serialize(items));
    return kDone;
  }
  std::string text;
  for (const Finding& finding : findings) {
    std::string name = finding.name;
    constexpr std::size_t kNameWidth = 17;
    name.resize(std::max(name.size(), kNameWidth), ' ');
    text += (finding.good ? "  ok  " : "  --  ") + name + finding.what + '\n';
    if (!finding.todo.empty()) text += std::string(6 + kNameWidth, ' ') + "→ " + finding.todo + '\n';
  }
  return print(text);
}

}  // namespace ebb::cli
