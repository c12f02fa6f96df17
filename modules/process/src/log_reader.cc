#include "ebb/process/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ranges>

#include "ebb/base/files.h"
#include "log_folder.h"

namespace ebb::process {
namespace {

// How many records are read at a time.
constexpr std::size_t kBlock = 512;
// A filter may find nothing for long; then the caller gets a chance to do something else.
constexpr std::size_t kMostRecordsPerRead = 64 << 10;
constexpr std::size_t kWindow = 64 << 10;
// From here on a place is looked for rather than walked to.
constexpr std::uint64_t kFarAhead = 1 << 20;
// The ring may turn while a place is looked for; each turn means that half the limit was written meanwhile.
constexpr int kMostTurns = 32;

// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
Result<std::string> read_at(int fd, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "cannot read a log");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

constexpr std::uint64_t index_offset(std::uint64_t record) { return (record + 1) * kLogRecordSize; }

// The valid records that follow (`end`, `position`) at number `record`; fewer than `count` at the index's
// end.
Result<std::vector<LogRecord>> records_at(int index, std::uint64_t record, std::uint64_t end,
                                          std::uint64_t position, std::size_t count) {
  auto bytes = read_at(index, index_offset(record), count * kLogRecordSize);
  if (!bytes) return std::move(bytes).error();
  std::vector<LogRecord> records;
  for (std::string_view rest = *bytes; rest.size() >= kLogRecordSize; rest.remove_prefix(kLogRecordSize)) {
    const auto found = decode_log_record(rest);
    if (!found || !log_record_follows(*found, end, position)) break;
    end = found->end;
    position = found->position;
    records.push_back(*found);
  }
  return records;
}

// One record by its number; nothing where it is not there or damaged.
std::optional<LogRecord> record_at(int index, std::uint64_t record) {
  const auto bytes = read_at(index, index_offset(record), kLogRecordSize);
  return bytes ? decode_log_record(*bytes) : std::nullopt;
}

bool wanted(LogRecordKind kind, LogFilter filter) {
  return (kind == LogRecordKind::out && filter != LogFilter::err) ||
         (kind == LogRecordKind::err && filter != LogFilter::out);
}

// Neighbouring gaps of one kind are one gap.
void add_gap(LogBatch& batch, LogPiece::Kind kind, std::uint64_t to, WallTime time) {
  if (!batch.pieces.empty() && batch.pieces.back().kind == kind) {
    LogPiece& last = batch.pieces.back();
    if (last.offset + last.length == batch.next) {
      last.length += to - batch.next;
      batch.next = to;
      return;
    }
  }
  LogPiece piece;
  piece.kind = kind;
  piece.offset = batch.next;
  piece.length = to - batch.next;
  piece.time = time;
  batch.pieces.push_back(std::move(piece));
  batch.next = to;
}

Error no_log(const std::string& path) {
  return Error{.code = Errc::not_found, .message = "no log in " + path, .pointer = {}, .type = {}};
}

}  // namespace

Result<std::string_view> LogReader::Window::between(int text, std::uint64_t from, std::uint64_t to) {
  if (from < start || to > start + bytes.size()) {
    auto read = read_at(text, from, std::max<std::size_t>(kWindow, static_cast<std::size_t>(to - from)));
    if (!read) return std::move(read).error();
    bytes = *std::move(read);
    start = from;
  }
  return std::string_view(bytes).substr(std::min<std::size_t>(from - start, bytes.size()), to - from);
}

Result<LogReader> LogReader::open(const std::filesystem::path& folder) {
  LogReader reader;
  reader.path_ = folder.string();
  reader.folder_.reset(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!reader.folder_) {
    if (errno == ENOENT || errno == ENOTDIR) return no_log(reader.path_);
    return errno_error(errno, "cannot open the log in " + reader.path_);
  }
  auto found = reader.first_after(std::nullopt);
  if (!found) return std::move(found).error();
  if (!found->has_value()) return no_log(reader.path_);
  reader.enter(**std::move(found));
  return reader;
}

void LogReader::enter(Segment segment) {
  place_ = {.record = 0, .end = segment.header.start, .position = 0};
  current_ = std::move(segment);
}

// Nothing where the segment is gone, or is only just being made (then `gone` is false).
Result<std::optional<LogReader::Segment>> LogReader::open_segment(std::uint64_t number, bool* gone) const {
  Segment segment;
  segment.number = number;
  segment.index.reset(
      ::openat(folder_.get(), segment_index_name(number).text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  *gone = !segment.index && errno == ENOENT;
  if (*gone) return std::optional<Segment>();
  if (!segment.index) return errno_error(errno, "cannot open the log in " + path_);
  auto bytes = read_at(segment.index.get(), 0, kLogRecordSize);
  if (!bytes) return std::move(bytes).error();
  if (bytes->size() < kLogRecordSize) return std::optional<Segment>();
  auto header = decode_log_header(*bytes);
  if (!header) return Error{header.error().code, path_ + ": " + header.error().message, {}, {}};
  segment.header = *header;
  return std::optional<Segment>(std::move(segment));
}

// The next one that can be read: one whose index has no header of ours is a hole in the log, and the log's
// end where nothing that can be read stands behind it. An error where none can be read at all.
Result<std::optional<LogReader::Segment>> LogReader::first_after(std::optional<std::uint64_t> number) const {
  for (int turn = 0; turn < kMostTurns; ++turn) {
    auto numbers = list_segments(folder_.get());
    if (!numbers) return std::move(numbers).error();
    auto at = number ? std::upper_bound(numbers->begin(), numbers->end(), *number) : numbers->begin();
    std::optional<Error> unreadable;
    bool gone = false;
    for (; at != numbers->end(); ++at) {
      auto segment = open_segment(*at, &gone);
      if (gone) break;
      if (!segment && segment.error().code == Errc::corrupt) {
        unreadable = std::move(segment).error();
        continue;
      }
      if (segment && segment->has_value()) (*segment)->behind_hole = unreadable.has_value();
      return segment;
    }
    if (gone) continue;
    if (unreadable && !number) return *std::move(unreadable);
    return std::optional<Segment>();
  }
  return Error{Errc::unavailable, "the log in " + path_ + " is written faster than it can be read", {}, {}};
}

// The segments that are the log, oldest first; at least one. One that begins before the end of the one before
// it was not written by a LogWriter: the log ends before it.
Result<std::vector<LogReader::Segment>> LogReader::segments() const {
  std::vector<Segment> found;
  for (;;) {
    auto next = first_after(found.empty() ? std::nullopt : std::optional(found.back().number));
    if (!next) return std::move(next).error();
    if (!next->has_value() || (!found.empty() && (*next)->header.start < end_of(found.back()))) break;
    found.push_back(**std::move(next));
  }
  if (found.empty()) return no_log(path_);
  return found;
}

Result<void> LogReader::seek(std::uint64_t offset) {
  auto log = segments();
  if (!log) return std::move(log).error();
  while (log->size() > 1 && log->back().header.start > offset) log->pop_back();
  enter(std::move(log->back()));
  // The last record that ends at or before the offset, by bisection; a damaged one counts as the index's end.
  // None ends at or before the start: one that says so is none, and would be found in place of it.
  std::uint64_t low = 0, high = offset > current_.header.start ? valid_records(current_) : 0;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    const auto record = record_at(current_.index.get(), middle);
    if (record && record->end <= offset && record->kind != LogRecordKind::closed) {
      place_ = {.record = middle + 1, .end = record->end, .position = record->position};
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return {};
}

Result<LogBatch> LogReader::read(std::uint64_t offset, LogFilter filter, std::size_t max_bytes) {
  if (offset < place_.end || offset - place_.end > kFarAhead) {
    if (auto found = seek(offset); !found) return std::move(found).error();
  }
  LogBatch batch;
  batch.next = offset;
  batch.state = LogBatch::State::more;
  auto filled = fill(filter, max_bytes, batch);
  // What was read before it failed is given first, whatever the size of reads; the next one fails.
  if (!filled && batch.next == offset) return std::move(filled).error();
  return batch;
}

Result<void> LogReader::fill(LogFilter filter, std::size_t max_bytes, LogBatch& batch) {
  const std::uint64_t offset = batch.next;
  if (offset < current_.header.start) {
    add_gap(batch, LogPiece::Kind::replaced, current_.header.start, current_.header.created);
  }
  Window window;
  std::size_t left = std::max<std::size_t>(max_bytes, 1);
  for (std::size_t seen = 0; seen < kMostRecordsPerRead;) {
    auto records = records_at(current_.index.get(), place_.record, place_.end, place_.position, kBlock);
    if (!records) return std::move(records).error();
    if (records->empty()) {
      auto entered = next_segment(batch);
      if (!entered) return std::move(entered).error();
      if (*entered) {
        window = {};
        continue;
      }
      batch.state = LogBatch::State::caught_up;
      break;
    }
    for (const LogRecord& record : *records) {
      ++seen;
      if (record.kind == LogRecordKind::closed) {
        batch.state = LogBatch::State::ended;
        break;
      }
      if (record.end > batch.next) {
        if (record.kind == LogRecordKind::dropped) {
          add_gap(batch, LogPiece::Kind::dropped, record.end, record.time);
        } else if (!wanted(record.kind, filter)) {
          batch.next = record.end;
        } else {
          if (left == 0) return {};
          const std::uint64_t before = batch.next;
          auto whole = take_text(record, left, window, batch);
          if (!whole) return std::move(whole).error();
          if (!*whole) return {};
          left -= std::min<std::size_t>(left, batch.next - before);
        }
      }
      ++place_.record;
      place_.end = record.end;
      place_.position = record.position;
    }
    if (batch.state == LogBatch::State::ended) break;
  }
  if (batch.state != LogBatch::State::more && batch.next > place_.end) {
    return Error{.code = Errc::invalid,
                 .message = "offset " + std::to_string(offset) + " is past the end of this log, which is " +
                            std::to_string(place_.end),
                 .pointer = {},
                 .type = {}};
  }
  return {};
}

// Enters the segment behind the current one, with a gap where its start does not join. False where there is
// none, or where it overlaps the current one (see segments()).
Result<bool> LogReader::next_segment(LogBatch& batch) {
  auto next = first_after(current_.number);
  if (!next) return std::move(next).error();
  if (!next->has_value()) return false;
  // The writer may have added records between our last look and the start of the next segment. They stay
  // readable, since we hold the file.
  auto late = records_at(current_.index.get(), place_.record, place_.end, place_.position, 1);
  if (!late) return std::move(late).error();
  if (!late->empty()) return true;
  const Segment& found = **next;
  if (found.header.start < std::max(place_.end, end_of(current_))) return false;
  if (found.header.start > batch.next) {
    const bool damaged = found.behind_hole || found.number == current_.number + 1;
    add_gap(batch, damaged ? LogPiece::Kind::damaged : LogPiece::Kind::replaced, found.header.start,
            found.header.created);
  }
  enter(**std::move(next));
  return true;
}

// Adds what is wanted of a record; false where the room did not suffice and the rest is for the next call.
Result<bool> LogReader::take_text(const LogRecord& record, std::size_t room, Window& window,
                                  LogBatch& batch) {
  auto opened = open_text(current_);
  if (!opened) return std::move(opened).error();
  if (!*opened) {
    add_gap(batch, LogPiece::Kind::replaced, record.end, record.time);
    return true;
  }
  const std::uint64_t skip = std::max(batch.next, place_.end) - place_.end;
  const std::uint64_t length = record.end - place_.end - skip;
  const std::uint64_t part = std::min<std::uint64_t>(length, room);
  const std::uint64_t from = place_.position + skip;
  auto text = window.between(current_.text.get(), from, from + part);
  if (!text) return std::move(text).error();
  if (!text->empty()) {
    LogPiece piece;
    piece.stream = record.kind == LogRecordKind::out ? LogStream::out : LogStream::err;
    piece.offset = batch.next;
    piece.length = text->size();
    piece.time = record.time;
    piece.bytes = *text;
    batch.next += text->size();
    batch.pieces.push_back(std::move(piece));
  }
  if (text->size() < part) {
    add_gap(batch, LogPiece::Kind::damaged, record.end, record.time);
    return true;
  }
  return part == length;
}

// False where the ring has taken the text away after the index was opened.
Result<bool> LogReader::open_text(Segment& segment) const {
  if (segment.text) return true;
  segment.text.reset(
      ::openat(folder_.get(), segment_text_name(segment.number).text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (segment.text) return true;
  if (errno == ENOENT) return false;
  return errno_error(errno, "cannot open the log in " + path_);
}

// How many records the index holds, but for a torn one at its end.
std::uint64_t LogReader::valid_records(const Segment& segment) {
  struct stat found{};
  if (::fstat(segment.index.get(), &found) != 0) return 0;
  const auto slots = static_cast<std::uint64_t>(found.st_size) / kLogRecordSize;
  std::uint64_t count = slots > 0 ? slots - 1 : 0;
  // A crash tears at most the last write, which is of two records; a power cut may leave a block of zeros.
  while (count > 0 && !record_at(segment.index.get(), count - 1)) --count;
  return count;
}

// One past the last byte that the index speaks of.
std::uint64_t LogReader::end_of(const Segment& segment) {
  const std::uint64_t count = valid_records(segment);
  const auto record = count > 0 ? record_at(segment.index.get(), count - 1) : std::nullopt;
  return record ? record->end : segment.header.start;
}

Result<std::uint64_t> LogReader::begin() {
  auto first = first_after(std::nullopt);
  if (!first) return std::move(first).error();
  if (!first->has_value()) return no_log(path_);
  return (*first)->header.start;
}

Result<std::uint64_t> LogReader::end() {
  auto log = segments();
  if (!log) return std::move(log).error();
  return end_of(log->back());
}

Result<std::uint64_t> LogReader::tail(std::size_t lines, LogFilter filter) {
  if (lines == 0) return end();
  auto log = segments();
  if (!log) return std::move(log).error();
  bool at_end = true;
  for (Segment& segment : std::ranges::reverse_view(*log)) {
    auto found = tail_in(segment, lines, at_end, filter);
    if (!found) return std::move(found).error();
    if (found->has_value()) return **found;
  }
  return log->front().header.start;
}

// Looks for the newline before the last `lines` lines, from the segment's end to its start; counts `lines`
// down.
Result<std::optional<std::uint64_t>> LogReader::tail_in(Segment& segment, std::size_t& lines, bool& at_end,
                                                        LogFilter filter) const {
  auto opened = open_text(segment);
  if (!opened) return std::move(opened).error();
  if (!*opened) return std::optional<std::uint64_t>();
  std::string text;  // positions [text_start, text_start + text.size())
  std::uint64_t text_start = 0;
  for (std::uint64_t upper = valid_records(segment); upper > 0;) {
    const std::uint64_t lower = upper > kBlock ? upper - kBlock : 0;
    std::uint64_t end = segment.header.start, position = 0;
    if (lower > 0) {
      const auto before = record_at(segment.index.get(), lower - 1);
      if (!before) return std::optional<std::uint64_t>();
      end = before->end;
      position = before->position;
    }
    auto records =
        records_at(segment.index.get(), lower, end, position, static_cast<std::size_t>(upper - lower));
    if (!records) return std::move(records).error();
    for (std::size_t i = records->size(); i-- > 0;) {
      const LogRecord& record = (*records)[i];
      const std::uint64_t from = i > 0 ? (*records)[i - 1].position : position;
      if (!wanted(record.kind, filter)) continue;
      for (std::uint64_t at = record.position; at > from; --at) {
        if (at <= text_start || at > text_start + text.size()) {
          text_start = at > kWindow ? at - kWindow : 0;
          auto read = read_at(segment.text.get(), text_start, static_cast<std::size_t>(at - text_start));
          if (!read) return std::move(read).error();
          text = *std::move(read);
          if (at > text_start + text.size()) break;  // lost by a power cut
        }
        const bool newline = text[static_cast<std::size_t>(at - 1 - text_start)] == '\n';
        // The newline at the very end closes the last line, it does not begin another.
        if (newline && !at_end && --lines == 0) return std::optional(record.end - (record.position - at));
        at_end = false;
      }
    }
    upper = lower;
  }
  return std::optional<std::uint64_t>();
}

}  // namespace ebb::process
