#include "ebb/model/log_frame.h"

#include <gtest/gtest.h>

namespace ebb::model {
namespace {

TEST(LogFrame, ArrivesWholeFromPiecesOfAnySize) {
  const std::string wire =
      encode({LogFrame::Kind::out, 0, "hello\n"}) + encode({LogFrame::Kind::gap, 6, "12"}) +
      encode({LogFrame::Kind::err, 18, std::string("\0x", 2)}) + encode({LogFrame::Kind::end, 20, ""});
  for (std::size_t piece = 1; piece <= wire.size(); ++piece) {
    LogFrameParser parser;
    std::vector<LogFrame> frames;
    for (std::size_t at = 0; at < wire.size(); at += piece) {
      parser.feed(std::string_view(wire).substr(at, piece));
      for (;;) {
        auto frame = parser.next();
        ASSERT_TRUE(frame.ok());
        if (!*frame) break;
        frames.push_back(**frame);
      }
    }
    ASSERT_EQ(frames.size(), 4u);
    EXPECT_EQ(frames[0].data, "hello\n");
    EXPECT_EQ(frames[1].kind, LogFrame::Kind::gap);
    EXPECT_EQ(frames[2].offset, 18u);
    EXPECT_EQ(frames[2].data, std::string("\0x", 2));
    EXPECT_EQ(frames[3].kind, LogFrame::Kind::end);
  }
}

TEST(LogFrame, RefusesRubbish) {
  LogFrameParser parser;
  parser.feed("HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_FALSE(parser.next().ok());
}

}  // namespace
}  // namespace ebb::model
