#include "ebb/process/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "ebb/base/files.h"
#include "log_folder.h"

namespace ebb::process {
namespace {

// How much of the index is asked of the file system at a time.
constexpr std::uint64_t kReserveStep = 4096;
// An append may need a gap and its own record, and the end of the log a gap and the mark.
constexpr std::uint64_t kMostRecordsAhead = 4;
// The index keeps positions in 48 bits.
constexpr std::uint64_t kLargestHalf = std::uint64_t{1} << 47;

// Writes all of it at `offset`; returns how much was written before the first failure, which is in errno.
std::size_t write_at(int fd, const char* data, std::size_t size, std::uint64_t offset) noexcept {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t put = ::pwrite(fd, data + done, size - done, static_cast<off_t>(offset + done));
    if (put > 0) {
      done += static_cast<std::size_t>(put);
    } else if (put == 0 || errno != EINTR) {
      if (put == 0) errno = ENOSPC;
      break;
    }
  }
  return done;
}

struct Recovered {
  LogHeader header;
  std::uint64_t size = kLogRecordSize;  // up to here the index is whole
  std::uint64_t end = 0;
  std::uint64_t position = 0;
  bool closed = false;
};

// Reads an index up to its first damaged record.
Result<Recovered> recover_index(int fd) {
  constexpr std::size_t kRecords = 1024;
  char block[kRecords * kLogRecordSize];
  Recovered found;
  for (std::uint64_t at = 0;;) {
    const ssize_t got = ::pread(fd, block, sizeof block, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "cannot read a log's index");
    std::string_view bytes(block, static_cast<std::size_t>(got));
    if (at == 0) {
      auto header = decode_log_header(bytes);
      if (!header) return std::move(header).error();
      found.header = *header;
      found.end = header->start;
      bytes.remove_prefix(kLogRecordSize);
    }
    for (; !bytes.empty(); bytes.remove_prefix(kLogRecordSize)) {
      const auto record = decode_log_record(bytes);
      if (!record || !log_record_follows(*record, found.end, found.position)) return found;
      found.end = record->end;
      found.position = record->position;
      found.size += kLogRecordSize;
      if (record->kind == LogRecordKind::closed) {
        found.closed = true;
        return found;
      }
    }
    if (static_cast<std::size_t>(got) < sizeof block) return found;
    at += sizeof block;
  }
}

std::uint64_t half_of(std::uint64_t limit) {
  return std::clamp(limit, LogWriter::kSmallestLimit, 2 * kLargestHalf) / 2;
}

}  // namespace

Result<LogWriter> LogWriter::create(const std::filesystem::path& folder, std::uint64_t limit_bytes,
                                    WallTime now, std::uint64_t lost) {
  if (auto made = make_directories(folder, 0700); !made) return std::move(made).error();
  auto fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return std::move(fd).error();
  auto segments = list_segments(fd->get());
  if (!segments) return std::move(segments).error();
  if (!segments->empty()) {
    return Error{.code = Errc::conflict,
                 .message = "there is already a log in " + folder.string(),
                 .pointer = {},
                 .type = {}};
  }
  LogWriter writer;
  writer.folder_ = *std::move(fd);
  writer.half_ = half_of(limit_bytes);
  if (!writer.start_segment(0, now)) {
    return errno_error(writer.error_, "cannot start a log in " + folder.string());
  }
  writer.drop(lost);
  return writer;
}

Result<LogWriter> LogWriter::reopen(const std::filesystem::path& folder, std::uint64_t limit_bytes,
                                    WallTime now) {
  auto fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return std::move(fd).error();
  auto segments = list_segments(fd->get());
  if (!segments) return std::move(segments).error();
  if (segments->empty()) {
    return Error{
        .code = Errc::not_found, .message = "no log in " + folder.string(), .pointer = {}, .type = {}};
  }
  LogWriter writer;
  writer.folder_ = *std::move(fd);
  writer.half_ = half_of(limit_bytes);
  // An index without a header is a segment that was being started: the one before it is the last.
  for (; !segments->empty(); segments->pop_back()) {
    writer.segment_ = segments->back();
    writer.index_.reset(::openat(writer.folder_.get(), segment_index_name(writer.segment_).text,
                                 O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (!writer.index_) return errno_error(errno, "cannot open the log in " + folder.string());
    auto found = recover_index(writer.index_.get());
    if (!found && found.error().code == Errc::corrupt) {
      writer.remove_segment(writer.segment_);
      continue;
    }
    if (!found) return std::move(found).error();
    if (found->closed) {
      return Error{.code = Errc::conflict,
                   .message = "the log in " + folder.string() + " is closed",
                   .pointer = {},
                   .type = {}};
    }
    writer.index_size_ = writer.index_reserved_ = found->size;
    writer.end_ = found->end;
    writer.position_ = found->position;
    break;
  }
  for (std::size_t i = 0; i + 2 < segments->size(); ++i) writer.remove_segment((*segments)[i]);
  if (segments->empty()) {
    if (!writer.start_segment(0, now))
      return errno_error(writer.error_, "cannot start a log in " + folder.string());
    return writer;
  }
  if (::ftruncate(writer.index_.get(), static_cast<off_t>(writer.index_size_)) != 0) {
    return errno_error(errno, "cannot cut off the torn end of the log in " + folder.string());
  }
  writer.text_.reset(::openat(writer.folder_.get(), segment_text_name(writer.segment_).text,
                              O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat text{};
  if (writer.text_ && ::fstat(writer.text_.get(), &text) != 0)
    return errno_error(errno, "cannot look at a log");
  const auto size = static_cast<std::uint64_t>(text.st_size);
  if (size > writer.position_) {
    // Written, but the writer died before it could say which stream it was.
    if (!writer.reserve_index() || !writer.put_record(LogRecordKind::out, size - writer.position_, now)) {
      return errno_error(writer.error_, "cannot go on with the log in " + folder.string());
    }
  } else if (size < writer.position_ && !writer.next_segment(now)) {
    // A power cut has taken text that the index counts; positions behind it would be wrong.
    return errno_error(writer.error_, "cannot go on with the log in " + folder.string());
  }
  return writer;
}

void LogWriter::append(LogStream stream, std::string_view bytes, WallTime time) noexcept {
  if (closed_) return;
  while (!bytes.empty()) {
    if (room() == 0 && !next_segment(time)) break;
    if (!reserve_index()) break;
    // The text goes first: a record never covers what is not there. The gap is recorded only once text can be
    // written again, or a disk that stays full would get a record for every append.
    const std::size_t written = put_text(bytes.substr(
        0,
        static_cast<std::size_t>(std::min<std::uint64_t>(room(), std::numeric_limits<std::size_t>::max()))));
    if (written == 0) break;
    const auto kind = stream == LogStream::out ? LogRecordKind::out : LogRecordKind::err;
    if ((pending_ > 0 && !put_record(LogRecordKind::dropped, pending_, time)) ||
        !put_record(kind, written, time)) {
      // Whatever this fails with, the next append writes over the same place.
      if (::ftruncate(text_.get(), static_cast<off_t>(position_)) != 0) error_ = errno;
      break;
    }
    bytes.remove_prefix(written);
  }
  drop(bytes.size());
}

void LogWriter::close(WallTime time) noexcept {
  if (closed_) return;
  closed_ = true;
  if (pending_ > 0 && !put_record(LogRecordKind::dropped, pending_, time)) return;
  static_cast<void>(put_record(LogRecordKind::closed, 0, time));
}

bool LogWriter::start_segment(std::uint64_t number, WallTime now) noexcept {
  const SegmentName name = segment_index_name(number);
  UniqueFd index(
      ::openat(folder_.get(), name.text, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode_t{0600}));
  if (!index) {
    error_ = errno;
    return false;
  }
  // The reserve comes first, so that a full disk shows before there is a segment that cannot be closed.
  LogWriter fresh;
  fresh.index_ = std::move(index);
  const LogRecordBytes header = encode_log_header({.start = end_, .created = now});
  if (!fresh.reserve_index() ||
      write_at(fresh.index_.get(), header.data(), header.size(), 0) != header.size()) {
    error_ = fresh.error_ != 0 ? fresh.error_ : errno;
    ::unlinkat(folder_.get(), name.text, 0);
    return false;
  }
  index_ = std::move(fresh.index_);
  index_size_ = kLogRecordSize;
  index_reserved_ = fresh.index_reserved_;
  text_.reset();
  segment_ = number;
  position_ = 0;
  return true;
}

bool LogWriter::next_segment(WallTime now) noexcept {
  const std::uint64_t full = segment_;
  if (!start_segment(full + 1, now)) {
    // The oldest would go anyway; its room may be what is missing.
    if (full == 0) return false;
    remove_segment(full - 1);
    if (!start_segment(full + 1, now)) return false;
  } else if (full > 0) {
    remove_segment(full - 1);
  }
  return true;
}

bool LogWriter::reserve_index() noexcept {
  while (index_reserved_ < index_size_ + kMostRecordsAhead * kLogRecordSize) {
    if (::fallocate(index_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(index_reserved_),
                    static_cast<off_t>(kReserveStep)) == 0) {
      index_reserved_ += kReserveStep;
    } else if (errno == EOPNOTSUPP || errno == ENOSYS) {
      // A file system without reservation: a full disk may then swallow the last records.
      index_reserved_ = std::numeric_limits<std::uint64_t>::max();
    } else if (errno != EINTR) {
      error_ = errno;
      return false;
    }
  }
  return true;
}

bool LogWriter::put_record(LogRecordKind kind, std::uint64_t length, WallTime time) noexcept {
  LogRecord record{.kind = kind, .time = time, .end = end_ + length, .position = position_};
  if (kind == LogRecordKind::out || kind == LogRecordKind::err) record.position += length;
  const LogRecordBytes bytes = encode_log_record(record);
  if (write_at(index_.get(), bytes.data(), bytes.size(), index_size_) != bytes.size()) {
    error_ = errno;
    return false;
  }
  index_size_ += kLogRecordSize;
  end_ = record.end;
  position_ = record.position;
  if (kind == LogRecordKind::dropped) pending_ = 0;
  return true;
}

std::size_t LogWriter::put_text(std::string_view bytes) noexcept {
  if (!text_) {
    text_.reset(::openat(folder_.get(), segment_text_name(segment_).text,
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode_t{0600}));
    if (!text_) {
      error_ = errno;
      return 0;
    }
  }
  const std::size_t written = write_at(text_.get(), bytes.data(), bytes.size(), position_);
  if (written < bytes.size()) error_ = errno;
  return written;
}

std::uint64_t LogWriter::room() const noexcept {
  const std::uint64_t used = position_ + index_size_ + kMostRecordsAhead * kLogRecordSize;
  return used < half_ ? half_ - used : 0;
}

void LogWriter::remove_segment(std::uint64_t number) noexcept {
  // The index first: a reader that finds no index looks for another segment, one that finds no text says
  // "replaced".
  ::unlinkat(folder_.get(), segment_index_name(number).text, 0);
  ::unlinkat(folder_.get(), segment_text_name(number).text, 0);
}

void LogWriter::drop(std::uint64_t count) noexcept {
  pending_ += count;
  dropped_ += count;
}

}  // namespace ebb::process
