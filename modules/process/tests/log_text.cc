#include "log_text.h"

#include <gtest/gtest.h>

namespace ebb::process::testing {

Read read_all(LogReader& reader, std::uint64_t offset, LogFilter filter, std::size_t max_bytes) {
  Read all;
  all.next = offset;
  while (all.state == LogBatch::State::more) {
    auto batch = reader.read(all.next, filter, max_bytes);
    if (!batch) {
      ADD_FAILURE() << batch.error().message;
      break;
    }
    std::uint64_t at = all.next;
    std::size_t bytes = 0;
    for (const LogPiece& piece : batch->pieces) {
      EXPECT_GE(piece.offset, at) << "offsets go up";
      at = piece.offset + piece.length;
      bytes += piece.bytes.size();
      const std::string where = std::to_string(piece.offset) + "+" + std::to_string(piece.length) + ">";
      switch (piece.kind) {
        case LogPiece::Kind::bytes:
          EXPECT_EQ(piece.length, piece.bytes.size());
          all.text += piece.bytes;
          break;
        case LogPiece::Kind::dropped:
          all.text += "<dropped " + where;
          break;
        case LogPiece::Kind::replaced:
          all.text += "<replaced " + where;
          break;
        case LogPiece::Kind::damaged:
          all.text += "<damaged " + where;
          break;
      }
    }
    EXPECT_LE(bytes, max_bytes);
    EXPECT_GE(batch->next, at);
    EXPECT_TRUE(batch->state != LogBatch::State::more || batch->next > all.next) << "no progress";
    all.next = batch->next;
    all.state = batch->state;
  }
  return all;
}

}  // namespace ebb::process::testing
