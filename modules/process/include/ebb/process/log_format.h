#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"

namespace ebb::process {

// The bytes of a log's index; docs/formats/log.md is the page. Used by LogWriter and LogReader, which are
// what everybody else should use. Nothing here touches a file.

inline constexpr std::size_t kLogRecordSize = 24;  ///< of the header too
inline constexpr unsigned kLogVersion = 1;

/// Which of a job's two outputs a byte came from.
enum class LogStream : std::uint8_t { out = 1, err = 2 };

enum class LogRecordKind : std::uint8_t {
  out = 1,      ///< bytes of standard output
  err = 2,      ///< bytes of standard error
  dropped = 3,  ///< bytes of either that could not be written (full disk); they have offsets but no content
  closed = 4,   ///< the writer is done: nothing follows
};

/// What one record says: that the log goes up to `end` (logical offset) and, in this segment's text, up to
/// `position`. Its length is the difference to the record before it.
struct LogRecord {
  LogRecordKind kind = LogRecordKind::closed;
  WallTime time;
  std::uint64_t end = 0;
  std::uint64_t position = 0;
};

/// The start of an index: the logical offset of the segment's first byte.
struct LogHeader {
  std::uint64_t start = 0;
  WallTime created;
};

using LogRecordBytes = std::array<char, kLogRecordSize>;
[[nodiscard]] LogRecordBytes encode_log_header(const LogHeader& header) noexcept;
[[nodiscard]] LogRecordBytes encode_log_record(const LogRecord& record) noexcept;
/// Reads the first kLogRecordSize bytes; Errc::corrupt where they are no header, or of another version.
[[nodiscard]] Result<LogHeader> decode_log_header(std::string_view bytes);
/// Reads the first kLogRecordSize bytes; nothing where they are torn, zero-filled or otherwise no record.
[[nodiscard]] std::optional<LogRecord> decode_log_record(std::string_view bytes) noexcept;
/// Whether `record` may follow one that ended at (`end`, `position`).
[[nodiscard]] bool log_record_follows(const LogRecord& record, std::uint64_t end,
                                      std::uint64_t position) noexcept;

/// A whole index in memory; for tools and the fuzzer. `records` ends before the first one that is damaged.
struct LogIndex {
  LogHeader header;
  std::vector<LogRecord> records;
  bool damaged = false;  ///< bytes follow that are no record (torn by a crash)
};
[[nodiscard]] Result<LogIndex> parse_log_index(std::string_view bytes);

/// "output.000007" and "output.000007.index", the two files of segment 7.
[[nodiscard]] std::string log_text_name(std::uint64_t segment);
[[nodiscard]] std::string log_index_name(std::uint64_t segment);
/// The segment whose index has this file name.
[[nodiscard]] std::optional<std::uint64_t> parse_log_index_name(std::string_view name) noexcept;

}  // namespace ebb::process
