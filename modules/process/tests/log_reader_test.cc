#include "ebb/process/log_reader.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "ebb/base/files.h"
#include "ebb/process/log_writer.h"
#include "log_text.h"
#include "world.h"

namespace ebb::process {
namespace {

using testing::read_all;
using testing::TempDir;

WallTime at(int micros) { return WallTime(Duration(micros)); }

LogWriter make(const std::filesystem::path& folder, std::uint64_t limit = 1 << 20) {
  return *LogWriter::create(folder, limit, at(1));
}

LogReader open(const std::filesystem::path& folder) {
  auto reader = LogReader::open(folder);
  EXPECT_TRUE(reader.ok()) << (reader ? "" : reader.error().message);
  return *std::move(reader);
}

TEST(LogReader, PiecesCarryStreamOffsetAndTime) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  writer.append(LogStream::out, "abc", at(10));
  writer.append(LogStream::err, "de", at(20));
  LogReader reader = open(dir / "log");
  const auto batch = reader.read(0, LogFilter::both);
  ASSERT_TRUE(batch.ok());
  ASSERT_EQ(batch->pieces.size(), 2u);
  EXPECT_EQ(batch->pieces[1].stream, LogStream::err);
  EXPECT_EQ(batch->pieces[1].offset, 3u);
  EXPECT_EQ(batch->pieces[1].time, at(20));
  EXPECT_EQ(batch->pieces[1].bytes, "de");
  EXPECT_EQ(batch->next, 5u);
  EXPECT_EQ(batch->state, LogBatch::State::caught_up);
}

TEST(LogReader, FiltersStreamsAndKeepsTheirOffsets) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  for (int i = 0; i < 5000; ++i) {
    writer.append(i % 2 == 0 ? LogStream::out : LogStream::err, i % 2 == 0 ? "o" : "ee", at(i));
  }
  writer.close(at(9999));
  LogReader reader = open(dir / "log");
  EXPECT_EQ(read_all(reader, 0, LogFilter::out).text, std::string(2500, 'o'));
  EXPECT_EQ(read_all(reader, 0, LogFilter::err, 777).text, std::string(5000, 'e'));
  EXPECT_EQ(read_all(reader, 0, LogFilter::err).next, 7500u);
  EXPECT_EQ(read_all(reader, 7497, LogFilter::both).text, "oee");
}

TEST(LogReader, AnyOffsetAndAnySizeOfReadGivesTheSameBytes) {
  const TempDir dir;
  LogWriter writer = make(dir / "log", 16 << 10);
  std::string all;
  for (int i = 0; i < 300; ++i) {
    const std::string line(static_cast<std::size_t>(1 + i * 7 % 90), static_cast<char>('a' + i % 26));
    writer.append(LogStream::out, line, at(i));
    all += line;
  }
  writer.close(at(9999));
  const std::uint64_t begin = *open(dir / "log").begin();
  ASSERT_GT(begin, 0u);
  LogReader kept = open(dir / "log");
  for (std::uint64_t offset = begin; offset <= all.size(); offset += 13) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{5000}}) {
      if (size == 1 && all.size() - offset > 200) continue;
      ASSERT_EQ(read_all(kept, offset, LogFilter::both, size).text, all.substr(offset))
          << offset << " by " << size;
      LogReader fresh = open(dir / "log");
      ASSERT_EQ(read_all(fresh, offset, LogFilter::both, size).text, all.substr(offset))
          << offset << " by " << size;
    }
  }
}

TEST(LogReader, AnOffsetPastTheEndIsRefused) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  writer.append(LogStream::out, "abc", at(10));
  LogReader reader = open(dir / "log");
  EXPECT_EQ(reader.read(4, LogFilter::both).error().code, Errc::invalid);
  EXPECT_TRUE(reader.read(3, LogFilter::both).ok());
  writer.close(at(11));
  EXPECT_EQ(reader.read(1'000'000'000, LogFilter::both).error().code, Errc::invalid);
  EXPECT_EQ(reader.read(3, LogFilter::both)->state, LogBatch::State::ended);
}

TEST(LogReader, NoLogIsNotFound) {
  const TempDir dir;
  EXPECT_EQ(LogReader::open(dir.path()).error().code, Errc::not_found);
  EXPECT_EQ(LogReader::open(dir / "none").error().code, Errc::not_found);
}

TEST(LogReader, TailFindsTheLastLines) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  const auto tail = [&](std::size_t lines, LogFilter filter = LogFilter::both) {
    LogReader reader = open(dir / "log");
    return read_all(reader, *reader.tail(lines, filter), filter).text;
  };
  EXPECT_EQ(tail(3), "");
  writer.append(LogStream::out, "o1\no2\n", at(1));
  writer.append(LogStream::err, "e1\n", at(2));
  writer.append(LogStream::out, "o3 begins", at(3));
  writer.append(LogStream::err, "e2\n", at(4));
  writer.append(LogStream::out, " and ends\no4", at(5));
  EXPECT_EQ(tail(0), "");
  EXPECT_EQ(tail(1), "o4");
  EXPECT_EQ(tail(1, LogFilter::out), "o4");
  EXPECT_EQ(tail(2, LogFilter::out), "o3 begins and ends\no4");
  EXPECT_EQ(tail(1, LogFilter::err), "e2\n");
  EXPECT_EQ(tail(2, LogFilter::err), "e1\ne2\n");
  EXPECT_EQ(tail(99), "o1\no2\ne1\no3 beginse2\n and ends\no4");
  EXPECT_EQ(tail(99, LogFilter::err), "e1\ne2\n");
}

TEST(LogReader, TailCrossesBlocksAndSegments) {
  const TempDir dir;
  LogWriter writer = make(dir / "log", 256 << 10);
  std::vector<std::string> lines;
  for (int i = 0; i < 6000; ++i) {
    lines.push_back("line " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 60), '.') + "\n");
    writer.append(LogStream::out, lines.back(), at(i));
  }
  LogReader reader = open(dir / "log");
  for (const std::size_t count : {1u, 2u, 511u, 512u, 513u, 2000u, 2500u}) {
    std::string expected;
    for (std::size_t i = lines.size() - count; i < lines.size(); ++i) expected += lines[i];
    EXPECT_EQ(read_all(reader, *reader.tail(count, LogFilter::both)).text, expected) << count;
  }
  EXPECT_EQ(*reader.tail(1'000'000, LogFilter::both), *reader.begin());
}

TEST(LogReader, ASlowReaderSeesAGapAndThenTheNewest) {
  const TempDir dir;
  LogWriter writer = make(dir / "log", 16 << 10);
  writer.append(LogStream::out, "start\n", at(1));
  LogReader reader = open(dir / "log");
  const auto first = read_all(reader);
  EXPECT_EQ(first.text, "start\n");
  std::string all = "start\n";
  for (int i = 0; i < 2000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    writer.append(LogStream::out, line, at(i));
    all += line;
  }
  const std::string rest = read_all(reader, first.next).text;
  // What its open segment still held comes first, then one gap, then what the ring holds now.
  const std::size_t gap = rest.find("<replaced ");
  ASSERT_NE(gap, std::string::npos);
  EXPECT_EQ(rest.find('<', gap + 1), std::string::npos);
  EXPECT_EQ(rest.substr(0, gap), all.substr(first.next, gap));
  const std::uint64_t begin = *reader.begin();
  EXPECT_EQ(rest.substr(rest.find('>') + 1), all.substr(begin));
}

TEST(LogReader, DamageInTheMiddleEndsThereAndGoesOnWithTheNextSegment) {
  const TempDir dir;
  LogWriter writer = make(dir / "log", 16 << 10);
  for (int i = 0; i < 500; ++i) writer.append(LogStream::out, "0123456789012345678\n", at(i));
  const auto begin = *open(dir / "log").begin();
  std::vector<std::filesystem::path> indexes;
  for (const auto& file : std::filesystem::directory_iterator(dir / "log")) {
    if (file.path().extension() == ".index") indexes.push_back(file.path());
  }
  ASSERT_EQ(indexes.size(), 2u);
  std::sort(indexes.begin(), indexes.end());
  std::fstream file(indexes[0], std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(kLogRecordSize * 11 + 3));
  file.put('\x55');
  file.close();
  LogReader reader = open(dir / "log");
  const std::string text = read_all(reader, begin).text;
  EXPECT_EQ(text.substr(0, 200).find('<'), std::string::npos) << "ten records before it are good";
  EXPECT_NE(text.find("<damaged " + std::to_string(begin + 200)), std::string::npos) << text.substr(0, 300);
  EXPECT_EQ(text.substr(text.size() - 20), "0123456789012345678\n");
}

// A segment of one record of standard output.
void put_segment(const std::filesystem::path& folder, std::uint64_t number, std::uint64_t start,
                 const std::string& text) {
  const auto header = encode_log_header({.start = start, .created = at(1)});
  const auto record = encode_log_record(
      {.kind = LogRecordKind::out, .time = at(2), .end = start + text.size(), .position = text.size()});
  std::ofstream(folder / log_index_name(number))
      << std::string(header.data(), header.size()) << std::string(record.data(), record.size());
  std::ofstream(folder / log_text_name(number)) << text;
}

TEST(LogReader, TheLogEndsBeforeASegmentThatOverlapsTheOneBeforeIt) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "log");
  put_segment(dir / "log", 1, 0, "0123456789\n");
  put_segment(dir / "log", 3, 8, "a meddler's\n");
  put_segment(dir / "log", 4, 20, "behind it\n");
  for (const std::size_t size : {std::size_t{1}, std::size_t{7}, std::size_t{1} << 20}) {
    LogReader reader = open(dir / "log");
    for (const std::uint64_t from : {0u, 9u, 0u}) {
      const auto all = read_all(reader, from, LogFilter::both, size);
      EXPECT_EQ(all.text, std::string("0123456789\n").substr(from)) << "from " << from << " by " << size;
      EXPECT_EQ(all.state, LogBatch::State::caught_up);
    }
    EXPECT_EQ(reader.read(12, LogFilter::both, size).error().code, Errc::invalid);
    EXPECT_EQ(*reader.end(), 11u);
    EXPECT_EQ(*reader.tail(1, LogFilter::both), 0u);
  }
}

// The first read needs no search, the second one does.
TEST(LogReader, ARecordOfNothingIsTheEndOfItsIndexForASearchToo) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "log");
  put_segment(dir / "log", 0, 0, "");
  const auto record = encode_log_record({.kind = LogRecordKind::out, .time = at(2), .end = 5, .position = 5});
  std::ofstream(dir / "log" / log_index_name(0), std::ios::app) << std::string(record.data(), record.size());
  std::ofstream(dir / "log" / log_text_name(0)) << "after";
  put_segment(dir / "log", 1, 5, "more");
  LogReader reader = open(dir / "log");
  EXPECT_EQ(read_all(reader).text, "<damaged 0+5>more");
  EXPECT_EQ(read_all(reader).text, "<damaged 0+5>more");
}

TEST(LogReader, ASegmentThatCannotBeReadIsAHoleWhateverTheSizeOfReads) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "log");
  put_segment(dir / "log", 0, 0, "0123456789\n");
  for (const std::uint64_t number : {1u, 2u, 4u}) {
    std::ofstream(dir / "log" / log_index_name(number)) << std::string(kLogRecordSize, 'x');
  }
  for (const std::size_t size : {std::size_t{7}, std::size_t{1} << 20}) {
    LogReader reader = open(dir / "log");
    for (const std::uint64_t from : {0u, 4u, 0u}) {
      EXPECT_EQ(read_all(reader, from, LogFilter::both, size).text, std::string("0123456789\n").substr(from));
    }
    EXPECT_EQ(*reader.tail(1, LogFilter::both), 0u);
  }
  put_segment(dir / "log", 3, 20, "behind it\n");
  for (const std::size_t size : {std::size_t{7}, std::size_t{1} << 20}) {
    LogReader reader = open(dir / "log");
    for (const std::uint64_t from : {0u, 4u, 0u}) {
      EXPECT_EQ(read_all(reader, from, LogFilter::both, size).text,
                std::string("0123456789\n").substr(from) + "<damaged 11+9>behind it\n");
    }
    EXPECT_EQ(*reader.end(), 30u);
    EXPECT_EQ(*reader.tail(1, LogFilter::both), 11u) << "from the hole before it on";
  }
}

TEST(LogReader, GarbageNeverCrashesIt) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "log");
  std::ofstream(dir / "log/output.000003.index") << std::string(500, '\xff');
  EXPECT_EQ(LogReader::open(dir / "log").error().code, Errc::corrupt);
  std::filesystem::remove(dir / "log/output.000003.index");
  {
    make(dir / "log").append(LogStream::out, "fine", at(1));
  }
  std::ofstream(dir / "log/output.000000.index", std::ios::app) << std::string(100, '\x01');
  LogReader reader = open(dir / "log");
  EXPECT_EQ(read_all(reader).text, "fine");
  EXPECT_EQ(*reader.end(), 4u);
}

TEST(LogReader, ReadsWhileAnotherProcessWrites) {
  const TempDir dir;
  constexpr int kLines = 30'000;
  ASSERT_TRUE(LogWriter::create(dir / "log", 8 << 20, at(0)).ok());
  auto watch = LogWatch::create();
  ASSERT_TRUE(watch.ok());
  ASSERT_TRUE(watch->add(dir / "log").ok());
  LogReader reader = open(dir / "log");
  std::fflush(nullptr);
  const pid_t writer_pid = ::fork();
  if (writer_pid == 0) {
    auto writer = LogWriter::reopen(dir / "log", 8 << 20, at(1));
    for (int i = 0; i < kLines; ++i) {
      writer->append(i % 5 == 0 ? LogStream::err : LogStream::out, std::to_string(i) + "\n", at(i));
    }
    writer->close(at(99));
    ::_exit(0);
  }
  std::string got;
  std::uint64_t offset = 0;
  int waits = 0;
  for (;;) {
    auto batch = reader.read(offset, LogFilter::both);
    ASSERT_TRUE(batch.ok()) << batch.error().message;
    for (const LogPiece& piece : batch->pieces) {
      ASSERT_EQ(piece.kind, LogPiece::Kind::bytes);
      got += piece.bytes;
    }
    offset = batch->next;
    if (batch->state == LogBatch::State::ended) break;
    if (batch->state == LogBatch::State::more) continue;
    pollfd wait{watch->fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&wait, 1, 60'000), 1) << "the watch missed a change";
    static_cast<void>(watch->changed());
    ++waits;
  }
  std::string expected;
  for (int i = 0; i < kLines; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(got, expected);
  EXPECT_GT(waits, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(writer_pid, &status, 0), writer_pid);
  EXPECT_EQ(status, 0);
}

TEST(LogWatch, TellsWhichLogChanged) {
  const TempDir dir;
  LogWriter a = make(dir / "a"), b = make(dir / "b");
  auto watch = LogWatch::create();
  ASSERT_TRUE(watch.ok());
  const int first = *watch->add(dir / "a"), second = *watch->add(dir / "b");
  EXPECT_NE(first, second);
  EXPECT_EQ(*watch->add(dir / "a"), first);
  EXPECT_TRUE(watch->changed().watches.empty());
  b.append(LogStream::out, "x", at(1));
  EXPECT_EQ(watch->changed().watches, std::vector<int>{second});
  a.close(at(2));
  b.append(LogStream::out, "x", at(3));
  EXPECT_EQ(watch->changed().watches, (std::vector<int>{first, second}));
  watch->remove(first);
  EXPECT_TRUE(watch->changed().watches.empty());
  EXPECT_FALSE(watch->add(dir / "none").ok());
}

TEST(LogWatch, AnOverrunQueueMeansAll) {
  const TempDir dir;
  LogWriter writer = make(dir / "log", 1 << 30);
  auto watch = LogWatch::create();
  ASSERT_TRUE(watch->add(dir / "log").ok());
  std::size_t limit = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  if (limit == 0 || limit > 200'000)
    GTEST_SKIP() << "fs.inotify.max_queued_events is too high to overrun here";
  // Text and index in turn, so that the kernel cannot merge the events.
  for (std::size_t i = 0; i < limit; ++i) writer.append(LogStream::out, "x", at(1));
  bool all = false;
  for (;;) {
    pollfd wait{watch->fd(), POLLIN, 0};
    if (::poll(&wait, 1, 0) == 0) break;
    all = watch->changed().all || all;
  }
  EXPECT_TRUE(all);
}

}  // namespace
}  // namespace ebb::process
