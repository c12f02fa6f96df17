#include "ebb/model/log_frame.h"

namespace ebb::model {
namespace {

constexpr std::size_t kHeader = 1 + 8 + 4;
constexpr std::size_t kLargestFrame = 16 << 20;

void put_big_endian(std::string& out, std::uint64_t value, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0;) out += static_cast<char>(value >> (8 * i) & 0xff);
}

std::uint64_t get_big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

std::string encode(const LogFrame& frame) {
  std::string out;
  out.reserve(kHeader + frame.data.size());
  out += static_cast<char>(frame.kind);
  put_big_endian(out, frame.offset, 8);
  put_big_endian(out, frame.data.size(), 4);
  out += frame.data;
  return out;
}

Result<std::optional<LogFrame>> LogFrameParser::next() {
  const std::string_view rest = std::string_view(buffer_).substr(taken_);
  if (rest.size() < kHeader) {
    buffer_.erase(0, taken_);
    taken_ = 0;
    return std::optional<LogFrame>();
  }
  const auto kind = static_cast<unsigned char>(rest[0]);
  const std::uint64_t length = get_big_endian(rest.substr(9, 4));
  if (kind < 1 || kind > 4 || length > kLargestFrame) {
    return Error{.code = Errc::corrupt,
                 .message = "the log stream is no sequence of frames",
                 .pointer = {},
                 .type = {}};
  }
  if (rest.size() < kHeader + length) {
    buffer_.erase(0, taken_);
    taken_ = 0;
    return std::optional<LogFrame>();
  }
  LogFrame frame{.kind = static_cast<LogFrame::Kind>(kind),
                 .offset = get_big_endian(rest.substr(1, 8)),
                 .data = std::string(rest.substr(kHeader, length))};
  taken_ += kHeader + length;
  return std::optional(std::move(frame));
}

}  // namespace ebb::model
