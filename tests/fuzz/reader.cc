// A log's files as a crash, a power cut or a meddler may leave them. The input is a list of steps of three
// bytes, since no mutation would ever hit a record's check byte: what to write, and how far it goes.

#include "ebb/process/log_reader.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "folder.h"
#include "property.h"

namespace {

using namespace ebb::process;
using ebb::fuzz::must;

struct Segment {
  std::string index, text;
};

// What the steps of `input` leave in `folder`.
void write_log(const std::filesystem::path& folder, std::string_view input) {
  std::uint64_t number = 1, end = 0, position = 0;
  Segment segment;
  const auto begin = [&] {
    const LogRecordBytes header = encode_log_header({.start = end, .created = {}});
    segment = {.index = std::string(header.data(), header.size()), .text = {}};
    position = 0;
  };
  const auto save = [&] {
    std::ofstream(folder / log_index_name(number)) << segment.index;
    std::ofstream(folder / log_text_name(number)) << segment.text;
  };
  begin();
  for (; input.size() >= 3; input.remove_prefix(3)) {
    const auto what = static_cast<unsigned char>(input[0]), far = static_cast<unsigned char>(input[1]);
    const std::uint64_t step = std::uint64_t{static_cast<unsigned char>(input[2])} << (far % 5 == 4 ? 32 : 0);
    if (what % 8 < 4) {
      const auto kind = static_cast<LogRecordKind>(what % 8 + 1);
      const bool has_text = kind == LogRecordKind::out || kind == LogRecordKind::err;
      if (kind != LogRecordKind::closed) end += step;
      if (has_text) position += step;
      const auto record = encode_log_record({.kind = kind, .time = {}, .end = end, .position = position});
      segment.index.append(record.data(), record.size());
      // What the disk did not take is missing at the text's end.
      if (has_text && far % 2 == 0) segment.text.append(step % 256, far % 3 == 0 ? '\n' : 'x');
    } else if (what % 8 == 4) {
      segment.index.append(step % 48, static_cast<char>(far));  // torn or zero-filled
    } else if (what % 8 == 5) {
      segment.index.resize(segment.index.size() - std::min<std::size_t>(segment.index.size(), step % 48));
    } else if (number < 6) {
      save();
      number += what % 2 + 1;
      end = far % 2 == 0 ? end + step : end - std::min(end, step);
      begin();
    }
  }
  save();
}

// Reads to the end; the bytes of all pieces.
std::string read_all(LogReader& reader, LogFilter filter, std::uint64_t offset, std::size_t room) {
  std::string text;
  while (true) {
    const auto batch = reader.read(offset, filter, room);
    if (!batch) return text;
    std::uint64_t at = offset;
    for (const LogPiece& piece : batch->pieces) {
      must(filter == LogFilter::both ? piece.offset == at : piece.offset >= at);
      must(piece.length > 0);
      must(piece.bytes.size() == (piece.kind == LogPiece::Kind::bytes ? piece.length : 0));
      at = piece.offset + piece.length;
      text += piece.bytes;
    }
    must(filter == LogFilter::both ? batch->next == at : batch->next >= at);
    if (batch->state != LogBatch::State::more) return text;
    must(batch->next > offset);  // else it would be asked for ever
    offset = batch->next;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ebb::fuzz::Folder folder;
  folder.clear();
  write_log(folder.path(), ebb::fuzz::text(data, std::min<std::size_t>(size, 600)));
  auto reader = LogReader::open(folder.path());
  if (!reader) return 0;
  for (const LogFilter filter : {LogFilter::both, LogFilter::out, LogFilter::err}) {
    const auto begin = reader->begin();
    must(begin.ok());
    const std::string whole = read_all(*reader, filter, *begin, 1 << 20);
    must(read_all(*reader, filter, *begin, 7) == whole);
    if (const auto from = reader->tail(size % 5, filter)) {
      const std::string tail = read_all(*reader, filter, *from, 1 << 20);
      must(read_all(*reader, filter, *from, 64) == tail);
    }
  }
  (void)reader->end();
  return 0;
}
