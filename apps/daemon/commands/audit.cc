#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "commands.h"
#include "leftovers.h"
#include "prove/prove.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

std::string json_of(const Findings& findings) {
  boost::json::array leftovers;
  for (const process::Leftover& leftover : findings.leftovers) {
    leftovers.push_back(
        {{"kind", process::kind_text(leftover.kind)},
         {"what", leftover.what},
         {"detail", leftover.detail},
         {"advice", leftover.advice},
         {"attempt", leftover.attempt ? boost::json::value(leftover.attempt->str()) : nullptr}});
  }
  boost::json::array devices(findings.devices.begin(), findings.devices.end());
  boost::json::array unseen(findings.unseen.begin(), findings.unseen.end());
  return boost::json::serialize(boost::json::object{
      {"leftovers", std::move(leftovers)}, {"devices", std::move(devices)}, {"unseen", std::move(unseen)}});
}

std::string text_of(const Findings& findings, const DaemonPlaces& places) {
  std::string text;
  for (const process::Leftover& leftover : findings.leftovers) {
    text += std::string(process::kind_text(leftover.kind)) + ": " + leftover.what + "\n";
    if (!leftover.detail.empty()) text += "  " + leftover.detail + '\n';
    if (!leftover.advice.empty()) text += "  " + leftover.advice + '\n';
  }
  for (const std::string& device : findings.devices) text += device + "\n  'ebb devices' tells more\n";
  for (const std::string& unseen : findings.unseen) text += "not looked at: " + unseen + '\n';
  const std::size_t count = findings.leftovers.size() + findings.devices.size();
  const std::string where = places.pid != 0 ? "of the daemon with pid " + std::to_string(places.pid)
                                            : "in " + places.config.state.dir.string() + " (no daemon lives)";
  if (count == 0) return text + "nothing is left over " + where + "\n";
  return text + std::to_string(count) + (count == 1 ? " thing is" : " things are") + " left over " + where +
         "\n";
}

}  // namespace

int audit_main(Words words) {
  Parser parser(
      "audit",
      "Look for leftovers from outside: processes, cgroups, sockets, locks, ports, GPUs, mounts, scratch "
      "and IPC that should not be there; exit 1 if there are any",
      "sudo ebb audit");
  const ServerOption server(parser);
  std::string state;
  bool json = false;
  parser.add_option("--state", state, "the state directory of a daemon that no longer lives");
  parser.add_flag("--json", json, "print what was found as JSON");
  bool proves = false;
  auto* const prove_flag = parser.add_flag("--prove", proves,
                                           "instead, start a daemon of its own, kill it, its jobs and their "
                                           "clients in turn, and show what is left "
                                           "and how long it took; touches no other daemon and no other job");
  prove_flag->excludes("--server")->excludes("--state");
  if (const auto status = parser.read(std::move(words))) return *status;
  if (proves) return prove(json);

  std::optional<client::Client> client;
  auto connected = server.connect();
  if (connected) {
    client.emplace(std::move(*connected));
  } else if (connected.error().type != client::kNoDaemonType) {
    return fail(connected.error());
  } else if (state.empty() && server.named()) {
    say(connected.error().message + "; to look after a daemon that is gone, name its --state");
    return kNoDaemon;
  }
  const auto places = find_places(client ? &*client : nullptr, state);
  if (!places) return fail(places.error());
  const auto findings = find_leftovers(std::move(client), *places);
  if (!findings) return fail(findings.error());
  if (json) {
    print_json(json_of(*findings));
  } else {
    (void)print(text_of(*findings, *places));
  }
  return findings->none() ? kDone : kRefused;
}

}  // namespace ebb::cli
