#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/log_format.h"

namespace ebb::process {

/// Writes the log of one attempt: both outputs in order of arrival, as plain text in a folder, with an index
/// beside it, in at most two segments that hold half the limit each (text and index together). When the
/// second is full the first is removed. One process writes a log; any number may read it meanwhile
/// (LogReader).
///
/// A failing disk never fails the job: bytes that cannot be written are dropped and counted, the gap is
/// recorded as soon as a write succeeds again, and room for the last two records is reserved, so that a full
/// disk can still be told "closed". The process must ignore SIGXFSZ if its file size is limited.
///
/// One thread at a time. States: open, closed (append and close then do nothing).
class LogWriter {
 public:
  /// The least that a log may hold; smaller limits are raised to it.
  static constexpr std::uint64_t kSmallestLimit = 16 << 10;

  /// Starts a log in `folder`, which is made (0700) where it is missing. Errc::conflict where one is there.
  /// `lost`: bytes that came before and are gone; they count as dropped.
  [[nodiscard]] static Result<LogWriter> create(const std::filesystem::path& folder,
                                                std::uint64_t limit_bytes, WallTime now,
                                                std::uint64_t lost = 0);
  /// Goes on with the log of a writer that died, from what the index covers; a torn last record is cut off,
  /// and text that it did not cover any more counts as standard output. Errc::not_found where there is no
  /// log, Errc::conflict where it is closed.
  [[nodiscard]] static Result<LogWriter> reopen(const std::filesystem::path& folder,
                                                std::uint64_t limit_bytes, WallTime now);
  LogWriter(LogWriter&& other) noexcept = default;
  LogWriter& operator=(LogWriter&& other) noexcept = default;
  /// Leaves the log open, for reopen(): only close() says that the log has ended.
  ~LogWriter() = default;

  /// Adds `bytes`. Allocates nothing and waits for nothing but the file system's own write.
  void append(LogStream stream, std::string_view bytes, WallTime time) noexcept;
  /// Writes the mark that ends the log, for which followers wait.
  void close(WallTime time) noexcept;

  /// All bytes that were ever appended, dropped ones too: the offset of the next byte.
  [[nodiscard]] std::uint64_t offset() const noexcept { return end_ + pending_; }
  /// How many of them were dropped because they could not be written.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }
  /// errno of the last write that failed, 0 where none did.
  [[nodiscard]] int last_error() const noexcept { return error_; }

 private:
  LogWriter() = default;
  [[nodiscard]] bool start_segment(std::uint64_t number, WallTime now) noexcept;
  [[nodiscard]] bool next_segment(WallTime now) noexcept;
  [[nodiscard]] bool reserve_index() noexcept;
  [[nodiscard]] bool put_record(LogRecordKind kind, std::uint64_t length, WallTime time) noexcept;
  [[nodiscard]] std::size_t put_text(std::string_view bytes) noexcept;
  [[nodiscard]] std::uint64_t room() const noexcept;
  void remove_segment(std::uint64_t number) noexcept;
  void drop(std::uint64_t count) noexcept;

  UniqueFd folder_;
  UniqueFd index_;
  UniqueFd text_;                     // opened with the segment's first byte
  std::uint64_t half_ = 0;            // what one segment may hold, text and index together
  std::uint64_t segment_ = 0;         // number of the one being written
  std::uint64_t index_size_ = 0;      // up to here the index is valid
  std::uint64_t index_reserved_ = 0;  // up to here the file system has promised room
  std::uint64_t position_ = 0;        // up to here the text is covered by the index
  std::uint64_t end_ = 0;             // likewise, as a logical offset
  std::uint64_t pending_ = 0;         // dropped since, and not recorded yet
  std::uint64_t dropped_ = 0;
  int error_ = 0;
  bool closed_ = false;
};

}  // namespace ebb::process
