#include "ebb/process/log_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "ebb/base/files.h"
#include "ebb/process/log_reader.h"
#include "log_text.h"
#include "world.h"

namespace ebb::process {
namespace {

using testing::in_child;
using testing::read_all;
using testing::TempDir;

constexpr std::uint64_t kMiB = 1 << 20;
WallTime at(int micros) { return WallTime(Duration(micros)); }

LogWriter make(const std::filesystem::path& folder, std::uint64_t limit = kMiB) {
  auto writer = LogWriter::create(folder, limit, at(1));
  EXPECT_TRUE(writer.ok()) << (writer ? "" : writer.error().message);
  return *std::move(writer);
}

std::string text_of(const std::filesystem::path& folder) {
  auto reader = LogReader::open(folder);
  return reader ? read_all(*reader).text : "no log";
}

std::uintmax_t size_of(const std::filesystem::path& folder) {
  std::uintmax_t size = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) size += file.file_size();
  return size;
}

void cut(const std::filesystem::path& file, std::uintmax_t by) {
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - by);
}

TEST(LogWriter, TextIsPlainAndInOrderOfArrival) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  writer.append(LogStream::out, "one\n", at(10));
  writer.append(LogStream::err, "two\n", at(20));
  writer.append(LogStream::out, "", at(25));
  writer.append(LogStream::out, std::string("\0bin\xff", 5), at(30));
  EXPECT_EQ(*read_file(dir / "log/output.000000"), std::string("one\ntwo\n\0bin\xff", 13));
  EXPECT_EQ(writer.offset(), 13u);
  const auto index = parse_log_index(*read_file(dir / "log/output.000000.index"));
  ASSERT_TRUE(index.ok());
  ASSERT_EQ(index->records.size(), 3u);
  EXPECT_EQ(index->records[1].kind, LogRecordKind::err);
  EXPECT_EQ(index->records[1].time, at(20));
}

TEST(LogWriter, OnlyTheOwnerMayReadIt) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  writer.append(LogStream::out, "secret", at(1));
  EXPECT_EQ(std::filesystem::status(dir / "log").permissions(), std::filesystem::perms::owner_all);
  for (const auto& file : std::filesystem::directory_iterator(dir / "log")) {
    EXPECT_EQ(file.status().permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
}

TEST(LogWriter, AFolderHoldsOneLogOnly) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  EXPECT_EQ(LogWriter::create(dir / "log", kMiB, at(2)).error().code, Errc::conflict);
  EXPECT_EQ(LogWriter::reopen(dir / "none", kMiB, at(2)).error().code, Errc::io);
  EXPECT_EQ(LogWriter::reopen(dir.path(), kMiB, at(2)).error().code, Errc::not_found);
}

TEST(LogWriter, ClosesOnceAndThenIgnoresBytes) {
  const TempDir dir;
  LogWriter writer = make(dir / "log");
  writer.append(LogStream::out, "end", at(2));
  writer.close(at(3));
  writer.close(at(4));
  writer.append(LogStream::out, "late", at(5));
  auto reader = LogReader::open(dir / "log");
  const auto all = read_all(*reader);
  EXPECT_EQ(all.text, "end");
  EXPECT_EQ(all.state, LogBatch::State::ended);
  EXPECT_EQ(LogWriter::reopen(dir / "log", kMiB, at(6)).error().code, Errc::conflict);
}

TEST(LogWriter, KeepsTheNewestHalvesWithinTheLimit) {
  const TempDir dir;
  constexpr std::uint64_t kLimit = 64 << 10;
  LogWriter writer = make(dir / "log", kLimit);
  std::string all;
  for (int i = 0; i < 20'000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    writer.append(i % 3 == 0 ? LogStream::err : LogStream::out, line, at(i));
    all += line;
    if (i % 997 == 0) {
      EXPECT_LE(size_of(dir / "log"), kLimit);
    }
  }
  writer.close(at(30'000));
  EXPECT_LE(size_of(dir / "log"), kLimit);
  EXPECT_EQ(writer.offset(), all.size());
  EXPECT_EQ(writer.dropped(), 0u);
  auto reader = LogReader::open(dir / "log");
  const std::uint64_t begin = *reader->begin();
  EXPECT_GT(begin, 0u);
  EXPECT_EQ(read_all(*reader).text, "<replaced 0+" + std::to_string(begin) + ">" + all.substr(begin));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "log"), {}), 4);
}

TEST(LogWriter, OneAppendMayBeLargerThanTheLog) {
  const TempDir dir;
  LogWriter writer = make(dir / "log", 0);  // raised to the smallest
  std::string big(100'000, 'x');
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>('a' + i % 26);
  writer.append(LogStream::out, big, at(2));
  EXPECT_EQ(writer.offset(), big.size());
  EXPECT_LE(size_of(dir / "log"), LogWriter::kSmallestLimit);
  auto reader = LogReader::open(dir / "log");
  EXPECT_EQ(read_all(*reader, *reader->begin()).text, big.substr(*reader->begin()));
}

TEST(LogWriter, GoesOnAfterACrash) {
  const TempDir dir;
  {
    make(dir / "log").append(LogStream::err, "before\n", at(2));
  }
  auto writer = LogWriter::reopen(dir / "log", kMiB, at(3));
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  EXPECT_EQ(writer->offset(), 7u);
  writer->append(LogStream::out, "after\n", at(4));
  writer->close(at(5));
  EXPECT_EQ(text_of(dir / "log"), "before\nafter\n");
}

TEST(LogWriter, ATornRecordIsCutOffAndItsTextKept) {
  const TempDir dir;
  {
    LogWriter writer = make(dir / "log");
    writer.append(LogStream::out, "first\n", at(2));
    writer.append(LogStream::err, "second\n", at(3));
  }
  cut(dir / "log/output.000000.index", 5);
  auto writer = LogWriter::reopen(dir / "log", kMiB, at(9));
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  writer->append(LogStream::err, "third\n", at(10));
  EXPECT_EQ(text_of(dir / "log"), "first\nsecond\nthird\n");
  EXPECT_FALSE(parse_log_index(*read_file(dir / "log/output.000000.index"))->damaged);
}

TEST(LogWriter, TextLostInAPowerCutIsAGap) {
  const TempDir dir;
  {
    LogWriter writer = make(dir / "log");
    writer.append(LogStream::out, "0123456789", at(2));
    writer.append(LogStream::out, "abcdefghij", at(3));
  }
  cut(dir / "log/output.000000", 15);
  auto writer = LogWriter::reopen(dir / "log", kMiB, at(9));
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  EXPECT_EQ(writer->offset(), 20u) << "offsets never restart";
  writer->append(LogStream::out, "more", at(10));
  EXPECT_EQ(text_of(dir / "log"), "01234<damaged 5+15>more");
}

TEST(LogWriter, AHalfMadeSegmentIsTakenBack) {
  const TempDir dir;
  {
    make(dir / "log").append(LogStream::out, "kept", at(2));
  }
  std::ofstream(dir / "log/output.000001.index") << "EBB";
  auto writer = LogWriter::reopen(dir / "log", kMiB, at(9));
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  writer->append(LogStream::out, "+more", at(10));
  EXPECT_EQ(text_of(dir / "log"), "kept+more");
  EXPECT_FALSE(std::filesystem::exists(dir / "log/output.000001.index"));
}

TEST(LogWriter, AFullDiskDropsAndCountsAndTellsTheEnd) {
  const TempDir dir;
  in_child([&] {
    ASSERT_TRUE(testing::enter_mount_namespace());
    ASSERT_TRUE(testing::mount_tmpfs(dir.path(), "128k"));
    LogWriter writer = make(dir / "log", 64 * kMiB);
    const std::string block(8192, 'x');
    for (int i = 0; i < 40; ++i) writer.append(LogStream::out, block, at(10 + i));
    EXPECT_EQ(writer.offset(), 40 * block.size()) << "what is dropped counts";
    EXPECT_GT(writer.dropped(), 100'000u);
    EXPECT_EQ(writer.last_error(), ENOSPC);
    const std::uint64_t kept = writer.offset() - writer.dropped();
    writer.close(at(99));
    auto reader = LogReader::open(dir / "log");
    const auto all = read_all(*reader);
    EXPECT_EQ(all.state, LogBatch::State::ended) << "followers must see the end on a full disk too";
    EXPECT_EQ(all.text, std::string(kept, 'x') + "<dropped " + std::to_string(kept) + "+" +
                            std::to_string(writer.dropped()) + ">");
  });
}

TEST(LogWriter, GoesOnWhenThereIsRoomAgain) {
  const TempDir dir;
  in_child([&] {
    ASSERT_TRUE(testing::enter_mount_namespace());
    ASSERT_TRUE(testing::mount_tmpfs(dir.path(), "128k"));
    LogWriter writer = make(dir / "log", 64 * kMiB);
    {
      auto hog = open_file(dir / "hog", O_WRONLY | O_CREAT, 0600);
      ASSERT_TRUE(hog.ok());
      const std::string block(4096, 'h');
      while (::write(hog->get(), block.data(), block.size()) > 0) {
      }
    }
    writer.append(LogStream::out, "lost", at(2));
    writer.append(LogStream::err, "lost too", at(3));
    EXPECT_EQ(writer.dropped(), 12u);
    std::filesystem::remove(dir / "hog");
    writer.append(LogStream::err, "back\n", at(4));
    EXPECT_EQ(writer.dropped(), 12u);
    EXPECT_EQ(text_of(dir / "log"), "<dropped 0+12>back\n");
  });
}

TEST(LogWriter, AFullDiskAtTheTurnOfTheRing) {
  const TempDir dir;
  in_child([&] {
    ASSERT_TRUE(testing::enter_mount_namespace());
    ASSERT_TRUE(testing::mount_tmpfs(dir.path(), "256k"));
    // Half is 100 KiB: the third segment does not fit beside the first two before the first has gone.
    LogWriter writer = make(dir / "log", 200 << 10);
    std::string all;
    for (int i = 0; i < 400; ++i) {
      const std::string line = std::to_string(1'000'000 + i) + std::string(1016, '.') + "\n";
      all += line;
      writer.append(LogStream::out, line, at(i));
    }
    writer.close(at(500));
    EXPECT_EQ(writer.dropped(), 0u) << "the oldest segment makes room";
    auto reader = LogReader::open(dir / "log");
    EXPECT_EQ(read_all(*reader, *reader->begin()).text, all.substr(*reader->begin()));
  });
}

TEST(LogWriter, ALimitOnFileSizeDropsLikeAFullDisk) {
  const TempDir dir;
  in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10'000, 10'000};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    LogWriter writer = make(dir / "log");
    for (int i = 0; i < 12; ++i) writer.append(LogStream::out, std::string(1000, 'x'), at(i));
    writer.close(at(99));
    EXPECT_EQ(writer.dropped(), 2000u);
    EXPECT_EQ(writer.last_error(), EFBIG);
    auto reader = LogReader::open(dir / "log");
    EXPECT_EQ(read_all(*reader).text, std::string(10'000, 'x') + "<dropped 10000+2000>");
  });
}

TEST(LogWriter, WhatWasLostBeforeItBeganIsAGap) {
  const TempDir dir;
  auto writer = LogWriter::create(dir / "log", kMiB, at(1), 7);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  writer->append(LogStream::out, "kept", at(2));
  writer->close(at(3));
  EXPECT_EQ(writer->dropped(), 7u);
  auto reader = LogReader::open(dir / "log");
  EXPECT_EQ(read_all(*reader).text, "<dropped 0+7>kept");
}

TEST(LogWriter, AFolderThatCannotBeMadeIsAnErrorNotACrash) {
  const TempDir dir;
  std::ofstream(dir / "file") << "x";
  const auto refused = LogWriter::create(dir / "file/log", kMiB, at(1));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("file"), std::string::npos);
}

}  // namespace
}  // namespace ebb::process
