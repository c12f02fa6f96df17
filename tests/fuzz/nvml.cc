// What the daemon and its NVML helper say to each other, and the lists of GPUs and ports that users write.

#include "ebb/devices/inventory.h"
#include "ebb/devices/nvml_protocol.h"
#include "ebb/devices/ports.h"
#include "ebb/devices/reserved_ports.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace nvml = ebb::devices::nvml;
  const std::string_view text = ebb::fuzz::text(data, size);
  if (const auto request = nvml::parse_request(text)) {
    std::string line = nvml::write_request(*request);
    if (line.ends_with('\n')) line.pop_back();
    ebb::fuzz::must(nvml::parse_request(line).ok());
  }
  if (const auto answer = nvml::parse_answer(text); answer && answer->payload) {
    ebb::fuzz::must(nvml::parse_answer(nvml::write_answer(answer->id, *answer->payload)).ok());
  }
  (void)ebb::devices::parse_gpu_choice(text);
  (void)ebb::devices::parse_port_range(text);
  (void)ebb::devices::parse_port_set(text);
  return 0;
}
