#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/result.h"

namespace ebb::model {

/// The media type of GET /v1/jobs/{id}/logs when both streams are wanted apart: a sequence of frames.
inline constexpr std::string_view kLogFramesType = "application/vnd.ebb.log";

/// One piece of a job's output. On the wire: one byte `kind`, eight bytes `offset` and four bytes length,
/// both big-endian, then `data`.
struct LogFrame {
  enum class Kind : std::uint8_t {
    out = 1,  ///< the job's stdout
    err = 2,  ///< the job's stderr
    gap = 3,  ///< what was dropped here; `data` is the count of bytes in decimal
    end = 4,  ///< the log is whole: nothing follows
  };
  Kind kind = Kind::out;
  std::uint64_t offset = 0;  ///< logical offset of the first byte of `data` in the log
  std::string data;
};

[[nodiscard]] std::string encode(const LogFrame& frame);

/// Takes frames out of a stream of bytes that arrives in pieces of any size.
class LogFrameParser {
 public:
  void feed(std::string_view bytes) { buffer_ += bytes; }
  /// The next whole frame, nothing while it has not all arrived, or an error on rubbish (which is final).
  [[nodiscard]] Result<std::optional<LogFrame>> next();

 private:
  std::string buffer_;
  std::size_t taken_ = 0;
};

}  // namespace ebb::model
