// What keepers and daemons tell each other and leave on disk: the first byte of the input chooses which.

#include "ebb/process/end_record.h"
#include "ebb/process/keeper_protocol.h"
#include "ebb/process/launch.h"
#include "property.h"

namespace {

// What encode() would not write is refused, so whatever is read must be written as it was.
template <typename Parse>
void as_it_was(std::string_view data, Parse parse) {
  if (const auto read = parse(data)) ebb::fuzz::must(encode(*read) == data);
}

// Of a message of another version only that is read.
template <typename Parse>
void same_again(std::string_view data, Parse parse) {
  if (const auto read = parse(data)) as_it_was(encode(*read), parse);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest = ebb::fuzz::text(data, size).substr(1);
  switch (data[0] % 4) {
    case 0:
      same_again(rest, ebb::process::parse_keeper_command);
      break;
    case 1:
      same_again(rest, ebb::process::parse_keeper_event);
      break;
    case 2:
      as_it_was(rest, ebb::process::parse_end_record);
      break;
    default:
      if (const auto spec = ebb::process::parse_launch_spec(rest)) {
        (void)ebb::process::check(*spec);
        ebb::fuzz::must(encode(*spec) == rest);
      }
  }
  return 0;
}
