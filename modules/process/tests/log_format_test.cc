#include "ebb/process/log_format.h"

#include <gtest/gtest.h>

namespace ebb::process {
namespace {

std::string bytes_of(const LogRecordBytes& record) { return {record.data(), record.size()}; }

LogRecord record(LogRecordKind kind, std::uint64_t end, std::uint64_t position) {
  return {.kind = kind, .time = WallTime(Duration(1'763'938'778'222'226)), .end = end, .position = position};
}

TEST(LogFormat, RecordsRoundTrip) {
  for (const auto kind :
       {LogRecordKind::out, LogRecordKind::err, LogRecordKind::dropped, LogRecordKind::closed}) {
    const LogRecord put = record(kind, (std::uint64_t{1} << 61) + 5, (std::uint64_t{1} << 47) + 3);
    const auto got = decode_log_record(bytes_of(encode_log_record(put)));
    ASSERT_TRUE(got);
    EXPECT_EQ(got->kind, put.kind);
    EXPECT_EQ(got->time, put.time);
    EXPECT_EQ(got->end, put.end);
    EXPECT_EQ(got->position, put.position);
  }
}

TEST(LogFormat, IsAsThePageSays) {
  // docs/formats/log.md: little-endian time, end, six bytes of position, kind, check.
  const std::string bytes = bytes_of(encode_log_record(
      {.kind = LogRecordKind::err, .time = WallTime(Duration(0x0102)), .end = 0x0304, .position = 0x0506}));
  EXPECT_EQ(bytes.substr(0, 23),
            std::string("\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0\x06\x05\0\0\0\0\x02", 23));
  EXPECT_EQ(bytes_of(encode_log_header({})).substr(0, 8), "EBBLOG1\n");
}

TEST(LogFormat, ATimeBeforeTheEpochSurvives) {
  const LogRecord put{.kind = LogRecordKind::out, .time = WallTime(Duration(-5)), .end = 1, .position = 1};
  EXPECT_EQ(decode_log_record(bytes_of(encode_log_record(put)))->time, put.time);
}

TEST(LogFormat, ZerosAndTornRecordsAreNone) {
  EXPECT_FALSE(decode_log_record(std::string(kLogRecordSize, '\0')));
  const std::string whole = bytes_of(encode_log_record(record(LogRecordKind::out, 7, 7)));
  for (std::size_t cut = 0; cut < kLogRecordSize; ++cut) {
    EXPECT_FALSE(decode_log_record(whole.substr(0, cut)));
    std::string padded = whole.substr(0, cut);
    padded.resize(kLogRecordSize, '\0');
    if (padded != whole) {
      EXPECT_FALSE(decode_log_record(padded)) << cut;
    }
  }
}

TEST(LogFormat, EveryFlippedBitIsNoticed) {
  const std::string whole = bytes_of(encode_log_record(record(LogRecordKind::out, 123456, 654321)));
  for (std::size_t bit = 0; bit < 8 * kLogRecordSize; ++bit) {
    std::string bent = whole;
    bent[bit / 8] = static_cast<char>(bent[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(decode_log_record(bent)) << bit;
  }
}

TEST(LogFormat, OnlyARecordThatJoinsFollows) {
  EXPECT_TRUE(log_record_follows(record(LogRecordKind::out, 15, 9), 10, 4));
  EXPECT_FALSE(log_record_follows(record(LogRecordKind::out, 15, 8), 10, 4)) << "text and length differ";
  EXPECT_FALSE(log_record_follows(record(LogRecordKind::err, 10, 4), 10, 4)) << "empty";
  EXPECT_FALSE(log_record_follows(record(LogRecordKind::err, 9, 3), 10, 4)) << "backwards";
  EXPECT_TRUE(log_record_follows(record(LogRecordKind::dropped, 15, 4), 10, 4));
  EXPECT_FALSE(log_record_follows(record(LogRecordKind::dropped, 15, 9), 10, 4)) << "a gap has no text";
  EXPECT_TRUE(log_record_follows(record(LogRecordKind::closed, 10, 4), 10, 4));
  EXPECT_FALSE(log_record_follows(record(LogRecordKind::closed, 11, 4), 10, 4));
}

TEST(LogFormat, AnIndexIsReadUpToItsDamage) {
  std::string bytes = bytes_of(encode_log_header({.start = 100, .created = WallTime(Duration(1))}));
  bytes += bytes_of(encode_log_record(record(LogRecordKind::out, 110, 10)));
  bytes += bytes_of(encode_log_record(record(LogRecordKind::dropped, 150, 10)));
  const std::size_t good = bytes.size();
  bytes += bytes_of(encode_log_record(record(LogRecordKind::closed, 150, 10)));
  auto index = parse_log_index(bytes);
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(index->header.start, 100u);
  EXPECT_EQ(index->records.size(), 3u);
  EXPECT_FALSE(index->damaged);
  index = parse_log_index(bytes.substr(0, good + 5));
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(index->records.size(), 2u);
  EXPECT_TRUE(index->damaged);
}

TEST(LogFormat, OtherFilesAndOtherVersionsAreRefused) {
  EXPECT_EQ(parse_log_index("").error().code, Errc::corrupt);
  EXPECT_EQ(parse_log_index(std::string(100, '\0')).error().code, Errc::corrupt);
  std::string newer = bytes_of(encode_log_header({}));
  newer[6] = '2';
  const auto refused = parse_log_index(newer);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("version '2'"), std::string::npos) << refused.error().message;
}

TEST(LogFormat, NamesOfSegments) {
  EXPECT_EQ(log_text_name(7), "output.000007");
  EXPECT_EQ(log_index_name(1'234'567), "output.1234567.index");
  EXPECT_EQ(parse_log_index_name("output.000007.index"), 7u);
  EXPECT_EQ(parse_log_index_name("output.1234567.index"), 1'234'567u);
  for (const char* other : {"output.000007", "output.7.index", "output.0000007.index", "output.-00007.index",
                            "output.00000x.index", "output.99999999999999999999.index", ".index", ""}) {
    EXPECT_FALSE(parse_log_index_name(other)) << other;
  }
}

}  // namespace
}  // namespace ebb::process
