// What a client reads: servers' names and env files.

#include <string>
#include <vector>

#include "ebb/client/command_line.h"
#include "ebb/client/endpoint.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = ebb::fuzz::text(data, size);
  (void)ebb::client::parse_endpoint(text);
  std::vector<std::string> lines;
  (void)ebb::client::parse_env_file(text, "fuzz.env", lines);
  return 0;
}
