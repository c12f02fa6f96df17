#pragma once

#include <string>

#include "ebb/process/log_reader.h"

namespace ebb::process::testing {

/// A log as one string: bytes as they are, gaps as "<kind offset+length>"; reads from `offset` until caught
/// up.
struct Read {
  std::string text;
  std::uint64_t next = 0;
  LogBatch::State state = LogBatch::State::more;
};
[[nodiscard]] Read read_all(LogReader& reader, std::uint64_t offset = 0, LogFilter filter = LogFilter::both,
                            std::size_t max_bytes = 256 << 10);

}  // namespace ebb::process::testing
