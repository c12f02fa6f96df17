// The two streams of an answer, server-sent events and log frames: what comes out must not depend on the
// pieces in which it arrives.

#include <algorithm>
#include <vector>

#include "ebb/client/sse.h"
#include "ebb/model/log_frame.h"
#include "property.h"

namespace {

struct Read {
  std::vector<std::string> items;
  bool failed = false;
  bool operator==(const Read&) const = default;
};

std::string one_text(const ebb::client::ServerEvent& event) {
  return event.name + '\n' + event.id + '\n' + event.data;
}
std::string one_text(const ebb::model::LogFrame& frame) { return encode(frame); }

template <typename Parser>
Read read_in_pieces(std::string_view bytes, std::size_t piece) {
  Read read;
  Parser parser;
  while (!bytes.empty() && !read.failed) {
    parser.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    while (true) {
      const auto next = parser.next();
      read.failed = !next;
      if (!next || !*next) break;
      read.items.push_back(one_text(**next));
    }
  }
  return read;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ebb::client::SseParser;
  using ebb::model::LogFrameParser;
  const std::string_view text = ebb::fuzz::text(data, size);
  const std::size_t piece = size % 7 + 1;
  ebb::fuzz::must(read_in_pieces<SseParser>(text, piece) == read_in_pieces<SseParser>(text, size + 1));
  const Read frames = read_in_pieces<LogFrameParser>(text, size + 1);
  ebb::fuzz::must(read_in_pieces<LogFrameParser>(text, piece) == frames);
  // Frames have one form: those that were read are the bytes that came.
  std::string again;
  for (const std::string& frame : frames.items) again += frame;
  ebb::fuzz::must(text.starts_with(again));
  return 0;
}
