#include "ebb/base/text.h"
#include "ebb/devices/reserved_ports.h"
#include "errors.h"
#include "numbers.h"

namespace ebb::devices {
namespace {

Error wrong(std::string_view what) {
  return fail(Errc::corrupt, "no list of ports: \"" + printable(what.substr(0, 80)) + "\"");
}

}  // namespace

Result<PortSet> parse_port_set(std::string_view text) {
  PortSet ports;
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.empty()) return ports;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t dash = part.find('-');
    const auto from = parse_number<std::uint16_t>(part.substr(0, dash));
    const auto to =
        dash == std::string_view::npos ? from : parse_number<std::uint16_t>(part.substr(dash + 1));
    if (!from || !to || *from > *to) return wrong(part);
    for (std::size_t port = *from; port <= *to; ++port) ports.set(port);
  }
  return ports;
}

std::string write_port_set(const PortSet& ports) {
  std::string out;
  for (std::size_t port = 0; port < ports.size(); ++port) {
    if (!ports[port]) continue;
    std::size_t last = port;
    while (last + 1 < ports.size() && ports[last + 1]) ++last;
    if (!out.empty()) out += ',';
    out += std::to_string(port);
    if (last > port) out += '-' + std::to_string(last);
    port = last;
  }
  return out;
}

std::string PortLedger::write() const {
  std::string out = "ebb-reserved-ports 1 " + boot_id + '\n';
  for (const Use& use : uses) {
    out += "use " + std::to_string(use.network) + ' ' + std::to_string(use.slot) + ' ' +
           write_port_set(use.ports) + '\n';
  }
  for (const Added& add : added) {
    out += "added " + std::to_string(add.network) + ' ' + write_port_set(add.ports) + '\n';
  }
  return out;
}

Result<PortLedger> PortLedger::parse(std::string_view text) {
  PortLedger ledger;
  const auto lines = split(text, '\n');
  constexpr std::string_view kHeader = "ebb-reserved-ports 1 ";
  if (!lines[0].starts_with(kHeader) || !text.ends_with('\n') || lines.size() > kMaxLines) {
    return wrong(lines[0]);
  }
  ledger.boot_id = lines[0].substr(kHeader.size());
  for (std::size_t i = 1; i + 1 < lines.size(); ++i) {
    const auto words = split(lines[i], ' ');
    const bool use = words[0] == "use" && words.size() == 4;
    if (!use && !(words[0] == "added" && words.size() == 3)) return wrong(lines[i]);
    const auto network = parse_number<std::uint64_t>(words[1]);
    const auto slot = use ? parse_number<int>(words[2]) : std::optional(0);
    auto ports = parse_port_set(words.back());
    if (!network || !slot || *slot < -1 || !ports) return wrong(lines[i]);
    if (use) {
      ledger.uses.push_back({.network = *network, .slot = *slot, .ports = *ports});
    } else {
      ledger.added.push_back({.network = *network, .ports = *ports});
    }
  }
  return ledger;
}

}  // namespace ebb::devices
