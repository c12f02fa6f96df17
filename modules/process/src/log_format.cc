#include "ebb/process/log_format.h"

#include <charconv>
#include <cstring>

#include "log_folder.h"

namespace ebb::process {
namespace {

constexpr std::string_view kMagic = "EBBLOG1\n";
static_assert(kMagic[6] == '0' + kLogVersion);
constexpr std::size_t kEndAt = 8, kPositionAt = 16, kPositionBytes = 6, kKindAt = 22, kCheckAt = 23;
// The largest offset; below it no sum of two overflows.
constexpr std::uint64_t kLargestOffset = std::uint64_t{1} << 62;

// Written byte by byte, so that a log reads the same on every machine.
void put(char* at, std::uint64_t value, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; ++i) at[i] = static_cast<char>(value >> (8 * i) & 0xff);
}

std::uint64_t get(const char* at, std::size_t bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    value |= std::uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
  return value;
}

// CRC-8 (polynomial 0x07, start 0xff) of all bytes but the last. It tells a half-written record from a whole
// one; it is no defence against somebody who may write the file.
char check_of(const char* record) noexcept {
  unsigned crc = 0xff;
  for (std::size_t i = 0; i < kCheckAt; ++i) {
    crc ^= static_cast<unsigned char>(record[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1 ^ ((crc & 0x80) != 0 ? 0x07u : 0u)) & 0xff;
  }
  return static_cast<char>(crc);
}

Error corrupt(std::string message) {
  return Error{.code = Errc::corrupt, .message = std::move(message), .pointer = {}, .type = {}};
}

}  // namespace

LogRecordBytes encode_log_header(const LogHeader& header) noexcept {
  LogRecordBytes bytes{};
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  put(bytes.data() + kEndAt, header.start, 8);
  put(bytes.data() + kPositionAt, static_cast<std::uint64_t>(header.created.time_since_epoch().count()), 8);
  return bytes;
}

LogRecordBytes encode_log_record(const LogRecord& record) noexcept {
  LogRecordBytes bytes{};
  put(bytes.data(), static_cast<std::uint64_t>(record.time.time_since_epoch().count()), 8);
  put(bytes.data() + kEndAt, record.end, 8);
  put(bytes.data() + kPositionAt, record.position, kPositionBytes);
  bytes[kKindAt] = static_cast<char>(record.kind);
  bytes[kCheckAt] = check_of(bytes.data());
  return bytes;
}

Result<LogHeader> decode_log_header(std::string_view bytes) {
  if (bytes.size() < kLogRecordSize || bytes.substr(0, 6) != kMagic.substr(0, 6) || bytes[7] != kMagic[7]) {
    return corrupt("this file is no index of a log");
  }
  if (bytes[6] != kMagic[6]) {
    return corrupt(std::string("this log's index has version '") + bytes[6] +
                   "', and this program reads version " + std::to_string(kLogVersion) +
                   "; use the Ebb that wrote it, or read its text files as they are");
  }
  LogHeader header;
  header.start = get(bytes.data() + kEndAt, 8);
  header.created = WallTime(Duration(static_cast<std::int64_t>(get(bytes.data() + kPositionAt, 8))));
  if (header.start > kLargestOffset) return corrupt("this log's index begins at an impossible offset");
  return header;
}

std::optional<LogRecord> decode_log_record(std::string_view bytes) noexcept {
  if (bytes.size() < kLogRecordSize || bytes[kCheckAt] != check_of(bytes.data())) return std::nullopt;
  const auto kind = static_cast<unsigned char>(bytes[kKindAt]);
  if (kind < 1 || kind > static_cast<unsigned char>(LogRecordKind::closed)) return std::nullopt;
  LogRecord record;
  record.kind = static_cast<LogRecordKind>(kind);
  record.time = WallTime(Duration(static_cast<std::int64_t>(get(bytes.data(), 8))));
  record.end = get(bytes.data() + kEndAt, 8);
  record.position = get(bytes.data() + kPositionAt, kPositionBytes);
  if (record.end > kLargestOffset) return std::nullopt;
  return record;
}

bool log_record_follows(const LogRecord& record, std::uint64_t end, std::uint64_t position) noexcept {
  if (record.end < end || record.position < position) return false;
  const std::uint64_t bytes = record.end - end, text = record.position - position;
  switch (record.kind) {
    case LogRecordKind::out:
    case LogRecordKind::err:
      return bytes > 0 && bytes == text;
    case LogRecordKind::dropped:
      return bytes > 0 && text == 0;
    case LogRecordKind::closed:
      return bytes == 0 && text == 0;
  }
  return false;
}

Result<LogIndex> parse_log_index(std::string_view bytes) {
  auto header = decode_log_header(bytes);
  if (!header) return std::move(header).error();
  LogIndex index;
  index.header = *header;
  std::uint64_t end = header->start, position = 0;
  for (bytes.remove_prefix(kLogRecordSize); !bytes.empty(); bytes.remove_prefix(kLogRecordSize)) {
    const auto record = decode_log_record(bytes);
    if (!record || !log_record_follows(*record, end, position)) {
      index.damaged = true;
      break;
    }
    end = record->end;
    position = record->position;
    index.records.push_back(*record);
  }
  return index;
}

std::string log_text_name(std::uint64_t segment) { return segment_text_name(segment).text; }
std::string log_index_name(std::uint64_t segment) { return segment_index_name(segment).text; }

std::optional<std::uint64_t> parse_log_index_name(std::string_view name) noexcept {
  constexpr std::string_view kPrefix = "output.", kSuffix = ".index";
  if (name.size() < kPrefix.size() + 6 + kSuffix.size() || !name.starts_with(kPrefix) ||
      !name.ends_with(kSuffix)) {
    return std::nullopt;
  }
  const std::string_view digits = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  std::uint64_t number = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  // Only the one name that the writer would use, so that a number cannot stand for two files.
  if (failure != std::errc() || end != digits.data() + digits.size() ||
      name != segment_index_name(number).text) {
    return std::nullopt;
  }
  return number;
}

}  // namespace ebb::process
