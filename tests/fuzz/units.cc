// Durations, sizes and times as users write them.

#include "ebb/base/units.h"
#include "ebb/base/clock.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = ebb::fuzz::text(data, size);
  if (const auto duration = ebb::parse_duration(text)) {
    ebb::fuzz::must(duration->count() >= 0);
    const auto again = ebb::parse_duration(ebb::write_duration(*duration));
    ebb::fuzz::must(again && *again == *duration);
  }
  if (const auto bytes = ebb::parse_size(text)) ebb::fuzz::must(*bytes >= 0);
  if (const auto time = ebb::parse_time(text)) {
    // What was read can be written, and then says the same.
    ebb::fuzz::must(ebb::parse_time(ebb::format_time(*time)) == time);
  }
  return 0;
}
