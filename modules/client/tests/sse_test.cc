#include "ebb/client/sse.h"

#include <gtest/gtest.h>

#include <vector>

namespace ebb::client {
namespace {

std::vector<ServerEvent> take_all(SseParser& parser) {
  std::vector<ServerEvent> events;
  while (true) {
    const auto event = parser.next();
    EXPECT_TRUE(event);
    if (!event || !*event) return events;
    events.push_back(**event);
  }
}

const std::string kStream =
    ": hello\n\nevent: job\nid: 7\ndata: {\"a\":1}\n\nevent:ping\n\ndata: one\ndata: two\nretry: 5\n\r\n";
const std::vector<ServerEvent> kEvents = {{.name = "job", .id = "7", .data = "{\"a\":1}"},
                                          {.name = "ping", .id = {}, .data = {}},
                                          {.name = "message", .id = {}, .data = "one\ntwo"}};

TEST(SseParser, TakesEventsApart) {
  SseParser parser;
  parser.feed(kStream);
  EXPECT_EQ(take_all(parser), kEvents);
}

TEST(SseParser, DoesNotMindWhereTheStreamIsCut) {
  for (std::size_t cut = 0; cut <= kStream.size(); ++cut) {
    SseParser parser;
    parser.feed(std::string_view(kStream).substr(0, cut));
    auto events = take_all(parser);
    parser.feed(std::string_view(kStream).substr(cut));
    for (auto& event : take_all(parser)) events.push_back(event);
    EXPECT_EQ(events, kEvents) << "cut at " << cut;
  }
}

TEST(SseParser, RefusesAnEventWithoutEnd) {
  SseParser parser;
  parser.feed(std::string(SseParser::kLargestEvent + 1, 'x'));
  const auto event = parser.next();
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().code, Errc::too_large);
}

}  // namespace
}  // namespace ebb::client
