// ebb.toml, which only its owner writes, but every mistake in it must end in a message.

#include "ebb/daemon/config.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = ebb::fuzz::text(data, size);
  const auto config = ebb::daemon::parse_config(text, "fuzz.toml", ebb::daemon::default_config(0));
  if (config) {
    // 'ebb config print' writes what reads back.
    const std::string printed = ebb::daemon::print_config(*config);
    const auto again = ebb::daemon::parse_config(printed, "printed", ebb::daemon::default_config(0));
    ebb::fuzz::must(again && ebb::daemon::print_config(*again) == printed);
  } else {
    ebb::fuzz::must(!config.error().message.empty());
  }
  (void)ebb::daemon::parse_listen(text);
  return 0;
}
