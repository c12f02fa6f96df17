#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/log_format.h"

namespace ebb::process {

enum class LogFilter { both, out, err };

/// A run of bytes of one stream that arrived together, or a gap in their place.
struct LogPiece {
  enum class Kind {
    bytes,
    dropped,   ///< a full disk: never written
    replaced,  ///< over the limit: the ring has given their room to newer ones
    damaged,   ///< lost by a crash of the machine, or the file was tampered with
  };
  Kind kind = Kind::bytes;
  LogStream stream = LogStream::out;  ///< meaningless in a gap, which is in no one stream
  std::uint64_t offset = 0;           ///< logical: counts every byte that the job ever wrote, of both streams
  std::uint64_t length = 0;
  WallTime time;      ///< of arrival; of a gap: when it was noticed
  std::string bytes;  ///< empty in a gap
};

struct LogBatch {
  enum class State {
    more,       ///< read again at `next` now
    caught_up,  ///< nothing more yet: wait with LogWatch, then read again at `next`
    ended,      ///< the writer has closed the log and all of it was read
  };
  std::vector<LogPiece> pieces;
  std::uint64_t next = 0;
  State state = State::caught_up;
};

/// Reads an attempt's log while another process may be writing it; takes no lock and never waits. Keeps its
/// place, so that following costs what is new. A writer that died leaves a log that is caught up but never
/// ended: whoever knows that the attempt is over stops there. One thread at a time.
class LogReader {
 public:
  /// Errc::not_found where `folder` holds no log.
  [[nodiscard]] static Result<LogReader> open(const std::filesystem::path& folder);
  LogReader(LogReader&&) noexcept = default;
  LogReader& operator=(LogReader&&) noexcept = default;
  ~LogReader() = default;

  /// Up to about `max_bytes` from the logical offset on. An offset before the oldest byte that is kept yields
  /// a gap first; one past the end is Errc::invalid.
  [[nodiscard]] Result<LogBatch> read(std::uint64_t offset, LogFilter filter,
                                      std::size_t max_bytes = 256 << 10);
  /// The offset at which the last `lines` lines of the filtered log begin; the oldest offset where there are
  /// fewer. Text behind the last newline counts as a line.
  [[nodiscard]] Result<std::uint64_t> tail(std::size_t lines, LogFilter filter);
  /// One past the last byte that is there now.
  [[nodiscard]] Result<std::uint64_t> end();
  /// The oldest offset that is kept.
  [[nodiscard]] Result<std::uint64_t> begin();

 private:
  struct Segment {
    std::uint64_t number = 0;
    LogHeader header;
    UniqueFd index;
    UniqueFd text;             // opened when the first byte is read from it
    bool behind_hole = false;  // one before it could not be read
  };
  // A border between two records: where the next one stands, and what the one before it said.
  struct Place {
    std::uint64_t record = 0;
    std::uint64_t end = 0;
    std::uint64_t position = 0;
  };
  // A part of a segment's text, so that a thousand short records cost one read.
  struct Window {
    std::uint64_t start = 0;
    std::string bytes;
    Result<std::string_view> between(int text, std::uint64_t from, std::uint64_t to);
  };
  LogReader() = default;
  Result<std::optional<Segment>> open_segment(std::uint64_t number, bool* gone) const;
  Result<std::optional<Segment>> first_after(std::optional<std::uint64_t> number) const;
  Result<std::vector<Segment>> segments() const;
  Result<void> seek(std::uint64_t offset);
  Result<void> fill(LogFilter filter, std::size_t max_bytes, LogBatch& batch);
  Result<bool> next_segment(LogBatch& batch);
  Result<bool> take_text(const LogRecord& record, std::size_t room, Window& window, LogBatch& batch);
  Result<bool> open_text(Segment& segment) const;
  Result<std::optional<std::uint64_t>> tail_in(Segment& segment, std::size_t& lines, bool& at_end,
                                               LogFilter filter) const;
  static std::uint64_t valid_records(const Segment& segment);
  static std::uint64_t end_of(const Segment& segment);
  void enter(Segment segment);

  UniqueFd folder_;
  std::string path_;  // for messages
  Segment current_;
  Place place_;  // in current_
};

/// Tells when logs have changed: one inotify instance for any number of followed logs, since a user may have
/// few of those. Wait until fd() is readable, take the changes, read those logs again. A log must be watched
/// before it is read to its end, or a change between the two is missed. One thread at a time.
class LogWatch {
 public:
  [[nodiscard]] static Result<LogWatch> create();
  [[nodiscard]] int fd() const noexcept { return inotify_.get(); }
  /// Watches the log's folder; the number names it in changed(). The same folder gives the same number. A log
  /// that has not begun has no folder (Errc::not_found): its beginning is a change of the folder above.
  [[nodiscard]] Result<int> add(const std::filesystem::path& folder);
  void remove(int watch) noexcept;
  struct Changes {
    std::vector<int> watches;  ///< each once
    bool all = false;          ///< the kernel's queue ran over: any log may have changed
  };
  /// What has changed since the last call; empty where nothing has. Never waits.
  [[nodiscard]] Changes changed();

 private:
  UniqueFd inotify_;
};

}  // namespace ebb::process
