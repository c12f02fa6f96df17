#include "found_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "ebb/base/files.h"

namespace ebb::store {
namespace {

// The format is SQLite's, documented at sqlite.org/walformat.html.
constexpr std::int64_t kHeader = 32, kFrameHeader = 24;
constexpr std::uint32_t kMagic = 0x377f0682;  // its lowest bit tells how checksums read their words
constexpr std::uint32_t kMostRounds = 1U << 24;

using Bytes = std::span<const unsigned char>;

std::uint32_t word(Bytes bytes, std::size_t at, bool big_endian = true) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value |= std::uint32_t{bytes[at + i]} << 8 * (big_endian ? 3 - i : i);
  return value;
}

struct Checksum {
  std::uint32_t first = 0, second = 0;
  bool big_endian = false;

  void add(Bytes bytes) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      first += word(bytes, at, big_endian) + second;
      second += word(bytes, at + 4, big_endian) + first;
    }
  }
  [[nodiscard]] bool is(Bytes bytes, std::size_t at) const {
    return word(bytes, at) == first && word(bytes, at + 4) == second;
  }
};

// A frame of an earlier round of the log, which stays behind the newer ones: a new round begins only when the
// database has all its pages, and Ebb's never gets shorter. The number of the round alone does not say so:
// the first is drawn at random, and what damage leaves there lies near it in one log of 256.
bool of_earlier_round(Bytes frame, Bytes header, std::int64_t pages) {
  const std::uint32_t rounds = word(header, 16) - word(frame, 8);
  return rounds > 0 && rounds < kMostRounds && word(frame, 0) > 0 && word(frame, 0) <= pages;
}

bool read_at(const UniqueFd& fd, std::int64_t offset, std::span<unsigned char> into) {
  return ::pread(fd.get(), into.data(), into.size(), offset) == static_cast<ssize_t>(into.size());
}

}  // namespace

Store::FoundLog look_at_log(const std::filesystem::path& database) {
  Store::FoundLog found;
  const auto fd = open_file(database.string() + "-wal", O_RDONLY | O_NOFOLLOW);
  struct stat status{};
  if (!fd || ::fstat(fd->get(), &status) != 0 || status.st_size == 0) return found;
  const std::int64_t size = status.st_size;
  std::array<unsigned char, kHeader> header{};
  Checksum sum;
  const bool whole = size >= kHeader && read_at(*fd, 0, header);
  if (whole) {
    sum.big_endian = (word(header, 0) & 1U) != 0;
    sum.add(Bytes(header).first(24));
  }
  const std::int64_t page = whole ? word(header, 8) : 0;
  constexpr std::int64_t kLargestPage = 65'536;
  if (!whole || (word(header, 0) & ~1U) != kMagic || !sum.is(header, 24) || page < 512 ||
      page > kLargestPage) {
    found.left_out = size;
    return found;
  }
  std::vector<unsigned char> frame(static_cast<std::size_t>(kFrameHeader + page));
  const std::int64_t step = kFrameHeader + page;
  std::int64_t committed = kHeader;
  for (std::int64_t at = kHeader; at + step <= size && read_at(*fd, at, frame); at += step) {
    if (!std::equal(&frame[8], &frame[16], &header[16])) break;
    sum.add(Bytes(frame).first(8));
    sum.add(Bytes(frame).subspan(kFrameHeader));
    if (word(frame, 0) == 0 || !sum.is(frame, 16)) break;
    if (word(frame, 4) == 0) continue;  // not the last of its commit
    ++found.commits;
    committed = at + step;
  }
  std::error_code unknown;  // then no page can be told from a damaged one
  const auto size_of_database = std::filesystem::file_size(database, unknown);
  const std::int64_t pages = unknown ? 0 : static_cast<std::int64_t>(size_of_database) / page;
  std::int64_t end = committed;
  for (; end < size; end = std::min(end + step, size)) {
    std::array<unsigned char, kFrameHeader> next{};
    if (read_at(*fd, end, next) && of_earlier_round(next, header, pages)) break;
  }
  found.left_out = end - committed;
  return found;
}

}  // namespace ebb::store
