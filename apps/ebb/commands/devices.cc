#include "commands.h"
#include "server_option.h"
#include "table.h"

namespace ebb::cli {
namespace {

template <typename Device>
std::string holder(const Device& device) {
  if (!device.job) return "-";
  return device.job->str() + (device.user ? " of " + *device.user : "");
}

std::string outside_text(const model::Gpu& gpu) {
  std::string text = gpu.why.value_or("");
  if (!gpu.outside) return text;
  for (const model::OutsideUse& use : *gpu.outside) {
    text += (text.empty() ? "" : "; ") + use.user + "'s process " + std::to_string(use.pid) + " uses " +
            std::to_string(use.mib) + " MiB";
  }
  return text;
}

std::string devices_text(const model::Devices& devices) {
  std::string text;
  if (devices.gpus.empty()) {
    text += "no GPUs\n";
  } else {
    Table gpus({"GPU", "STATE", "JOB", "MEMORY", "NAME", "WHY"});
    for (const model::Gpu& gpu : devices.gpus) {
      gpus.add({std::to_string(gpu.id), std::string(model::name_of(gpu.state)), holder(gpu),
                gpu.memory_mib ? std::to_string(*gpu.memory_mib) + " MiB" : "-", gpu.name,
                outside_text(gpu)});
    }
    text += gpus.text();
  }
  int free = 0;
  Table ports({"PORT", "STATE", "JOB", "WHY"});
  bool any = false;
  for (const model::Port& port : devices.ports) {
    if (port.state == model::DeviceState::free) {
      ++free;
      continue;
    }
    any = true;
    ports.add({std::to_string(port.port), std::string(model::name_of(port.state)), holder(port),
               port.why.value_or("")});
  }
  text += '\n';
  if (any) text += ports.text();
  if (devices.ports.empty()) return text + "no ports\n";
  return text + "ports " + std::to_string(devices.ports.front().port) + "-" +
         std::to_string(devices.ports.back().port) + ": " + std::to_string(free) + " free\n";
}

}  // namespace

int devices_main(Words words) {
  Parser parser("devices", "GPUs and ports: who has which, and why one is not free",
                "ebb devices\n  ebb devices release 2");
  const ServerOption server(parser);
  bool json = false;
  parser.add_flag("--json", json, "print the answer as JSON");
  auto* release = parser.add_subcommand("release", "Give a quarantined GPU back, after a fresh check");
  std::string device;
  release->add_option("GPU", device, "its number, or port-38001")->required();
  release->fallthrough();
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  auto body = release->parsed()
                  ? client->call({.method = "POST",
                                  .target = "/v1/devices/" + client::percent_encoded(device) + "/release"})
                  : client->get("/v1/devices");
  if (!body) return fail(body.error());
  if (json) return print_json(*body);
  const auto devices = client::Client::parse_answer<model::Devices>(*body);
  if (!devices) return fail(devices.error());
  return print(devices_text(*devices));
}

}  // namespace ebb::cli
