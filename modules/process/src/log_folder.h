#pragma once

#include <cstdint>
#include <vector>

#include "ebb/base/result.h"

namespace ebb::process {

// A segment's file names without allocation, for the writer, which must not fail for lack of memory.
struct SegmentName {
  char text[48];
};
[[nodiscard]] SegmentName segment_text_name(std::uint64_t segment) noexcept;
[[nodiscard]] SegmentName segment_index_name(std::uint64_t segment) noexcept;

/// The numbers of the segments whose index is in the folder, ascending.
[[nodiscard]] Result<std::vector<std::uint64_t>> list_segments(int folder);

}  // namespace ebb::process
