// Files as sinks: whole under their name, or not at all.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <boost/json.hpp>
#include <csignal>
#include <limits>
#include <map>
#include <thread>

#include "folder.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(FileSinks, LinesAreWhatRecordsSay) {
  const Folder folder;
  LocalEnvironment env("lines");
  env.from_collection(std::vector<std::string>{"one", "", "three"}).sink(to_lines(folder / "text"));
  env.from_collection(std::vector<double>{0.1, 1e300, -2}).sink(to_lines(folder / "numbers"));
  env.from_collection(std::vector<const char*>{}).sink(to_lines(folder / "nothing"));
  run(env);
  EXPECT_EQ(folder.text("text"), "one\n\nthree\n");
  EXPECT_EQ(folder.text("numbers"), "0.1\n1e+300\n-2\n");
  EXPECT_EQ(folder.text("nothing"), "");
  EXPECT_THAT(folder.names(), ElementsAre("nothing", "numbers", "text"));
}

TEST(FileSinks, CsvOfTuplesPairsRangesAndRows) {
  const Folder folder;
  const std::string from = folder.file("in.csv", "name,stars\n\"a, \"\"b\"\"\",5\n\"x\ny\",4\n");
  LocalEnvironment env("csv");
  using Row = std::tuple<std::string, int, std::optional<double>, bool>;
  env.from_collection(std::vector<Row>{{"a,b", 1, 2.5, true}, {"\"", -2, {}, false}})
      .sink(to_csv(folder / "tuples", {.header = {"name", "n", "price", "ok"}}));
  env.from_collection(std::map<std::string, int>{{"x", 1}, {"y", 2}})
      .sink(to_csv(folder / "pairs", {.delimiter = ';'}));
  env.from_collection(std::vector<std::vector<std::string>>{{"1;2", "3"}, {"", ""}})
      .sink(to_csv(folder / "ranges"));
  env.from_collection(std::vector<std::string>{"a", "", "b"}).sink(to_csv(folder / "strings"));
  env.from_csv(from).sink(to_csv(folder / "rows"));
  env.from_collection(std::vector<std::array<int, 2>>{})
      .sink(to_csv(folder / "none", {.header = {"a", "b"}}));
  run(env);
  EXPECT_EQ(folder.text("tuples"), "name,n,price,ok\n\"a,b\",1,2.5,true\n\"\"\"\",-2,,false\n");
  EXPECT_EQ(folder.text("pairs"), "x;1\ny;2\n");
  EXPECT_EQ(folder.text("ranges"), "1;2,3\n,\n");
  EXPECT_EQ(folder.text("strings"), "a\n\"\"\nb\n");
  EXPECT_EQ(folder.text("rows"), folder.text("in.csv"));
  EXPECT_EQ(folder.text("none"), "a,b\n");
}

TEST(FileSinks, ARowOfAnotherLengthIsARecordInErrorAndLeavesNoPart) {
  const Folder folder;
  LocalEnvironment env("csv");
  env.from_collection(std::vector<std::vector<int>>{{1, 2}, {3}, {}, {4, 5}})
      .sink(to_csv(folder / "out"))
      .on_error(skip)
      .name("out");
  const PipelineReport report = run(env);
  EXPECT_EQ(folder.text("out"), "1,2\n4,5\n");
  EXPECT_EQ(op(report, "out").skipped, 2u);
}

struct Point {
  int x = 0;
  double y = 0;
};
void tag_invoke(const boost::json::value_from_tag&, boost::json::value& to, const Point& point) {
  to = {{"x", point.x}, {"y", point.y}};
}

TEST(FileSinks, JsonOfWhatBoostTakes) {
  const Folder folder;
  LocalEnvironment env("json");
  const std::vector<boost::json::value> values{{{"a", {1, 2.5, -3, nullptr}}, {"b", false}},
                                               "\"\\\n\x01é",
                                               boost::json::array{},
                                               boost::json::object{},
                                               std::numeric_limits<std::uint64_t>::max()};
  env.from_collection(values).sink(to_json_lines(folder / "values"));
  env.from_collection(std::vector<Point>{{1, 0.1}}).sink(to_json_lines(folder / "points"));
  env.from_collection(std::vector<double>{1, std::numeric_limits<double>::quiet_NaN(), 2})
      .sink(to_json_lines(folder / "numbers"))
      .on_error(skip);
  run(env);
  EXPECT_EQ(
      folder.text("values"),
      "{\"a\":[1,2.5,-3,null],\"b\":false}\n\"\\\"\\\\\\u000a\\u0001é\"\n[]\n{}\n18446744073709551615\n");
  EXPECT_EQ(folder.text("points"), "{\"x\":1,\"y\":0.1}\n");
  EXPECT_EQ(folder.text("numbers"), "1\n2\n");
  LocalEnvironment back("back");
  auto read = back.from_json_lines(folder / "values").collect();
  run(back);
  EXPECT_EQ(read.get(), values);
}

TEST(FileSinks, ReplicasWritePartsOfTheirOwn) {
  const Folder folder;
  LocalEnvironment env("parts");
  env.from_collection(numbers(1000)).round_robin().sink(to_lines(folder / "out")).parallelism(3);
  run(env);
  EXPECT_THAT(folder.names(),
              ElementsAre("out.part-00000-of-00003", "out.part-00001-of-00003", "out.part-00002-of-00003"));
  std::vector<int> all;
  for (const std::string& name : folder.names()) {
    LocalEnvironment back("back");
    auto read =
        back.from_lines(folder / name).map([](const std::string& s) { return std::stoi(s); }).collect();
    run(back);
    EXPECT_GE(read.get().size(), 1u);
    all.insert(all.end(), read.get().begin(), read.get().end());
  }
  EXPECT_EQ(sorted(all), numbers(1000));
}

TEST(FileSinks, TheOldFileStaysUntilTheNewOneIsWhole) {
  const Folder folder;
  folder.file("out", "old\n");
  ASSERT_EQ(::chmod((folder / "out").c_str(), 0640), 0);
  LocalEnvironment env("replaces");
  std::string seen;
  env.from_collection(numbers(100'000))
      .map([&](int x) {
        if (x == 99'999) seen = folder.text("out");
        return x;
      })
      .sink(to_lines(folder / "out"));
  run(env);
  EXPECT_EQ(seen, "old\n");
  EXPECT_THAT(folder.text("out"), StartsWith("0\n1\n2\n"));
  EXPECT_THAT(folder.names(), ElementsAre("out"));
  struct stat info{};
  ASSERT_EQ(::stat((folder / "out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(FileSinks, AFailureAnywhereLeavesTheFolderAsItWas) {
  const Folder folder;
  folder.file("out", "old\n");
  LocalEnvironment env("fails");
  auto stream = env.from_collection(numbers(100'000)).map([](int x) { return x; });
  stream.sink(to_lines(folder / "out"));
  stream.sink(to_lines(folder / "new"));
  stream.sink([](int x) {
    if (x == 99'999) throw std::runtime_error("at the last");
  });
  EXPECT_EQ(failure_of(env).error, "at the last");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
  EXPECT_EQ(folder.text("out"), "old\n");
}

TEST(FileSinks, ACancelLeavesNothingAndAStopWhatHasArrived) {
  const Folder folder;
  for (const bool cancels : {true, false}) {
    LocalEnvironment env("ends");
    env.from_source([next = 0](const std::stop_token& stop) mutable -> std::optional<int> {
         if (next < 10) return next++;
         std::mutex mutex;
         std::unique_lock lock(mutex);
         std::condition_variable_any().wait(lock, stop, [] { return false; });
         return std::nullopt;
       })
        .round_robin()  // what is counted behind a source that waits is told when it goes on
        .sink(to_lines(folder / (cancels ? "cancelled" : "stopped")))
        .name("out");
    Pipeline pipeline = env.submit();
    const BootTime deadline = BootClock::now() + 20s;
    while (op(pipeline.report(), "out").in < 10) {
      ASSERT_LT(BootClock::now(), deadline);
      std::this_thread::yield();
    }
    if (cancels) {
      pipeline.cancel();
      pipeline.wait();
      EXPECT_THAT(folder.names(), IsEmpty());
    } else {
      pipeline.stop();
      pipeline.wait();
      EXPECT_EQ(folder.text("stopped"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    }
  }
}

// A disk that takes no more, whatever the policy: the limit on the size of a file stands for it.
TEST(FileSinks, AWriteThatFailsFailsThePipelineAtThatOperator) {
  const Folder folder;
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const int records : {1'000'000, 100'000}) {  // while it writes, and when it is to be whole
    const struct rlimit limit{records > 100'000 ? rlim_t{1 << 20} : rlim_t{100}, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    LocalEnvironment env("full");
    env.from_collection(numbers(records)).sink(to_lines(folder / "out")).on_error(skip).name("out");
    const PipelineReport report = failure_of(env);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(report.failed_at, "out");
    EXPECT_THAT(report.error, HasSubstr(folder / "out"));
    EXPECT_THAT(report.error, HasSubstr("File too large"));
    EXPECT_THAT(folder.names(), IsEmpty());
  }
}

TEST(FileSinks, ANameThatCannotBeTakenFailsAndLeavesNothing) {
  const Folder folder;
  LocalEnvironment env("rename");
  env.from_collection(numbers(10))
      .map([&](int x) {
        if (x == 9) std::filesystem::create_directory(folder / "out");
        return x;
      })
      .sink(to_lines(folder / "out"))
      .name("out");
  const PipelineReport report = failure_of(env);
  EXPECT_EQ(report.failed_at, "out");
  EXPECT_THAT(report.error, HasSubstr("cannot rename to " + (folder / "out")));
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(FileSinks, WhatIsNoFileIsNotReplaced) {
  const Folder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink(folder.file("file", "old"), folder / "link");
  std::filesystem::create_symlink(folder / "nothing", folder / "dangling");
  const auto error_of = [&](const std::string& path) {
    LocalEnvironment env("refused");
    env.from_collection(numbers(1)).sink(to_lines(path));
    return failure_of(env).error;
  };
  EXPECT_THAT(error_of(folder / "pipe"), HasSubstr("it is no file"));
  EXPECT_THAT(error_of(folder / "."), HasSubstr("it is no file"));
  EXPECT_THAT(error_of(folder / "dangling"), HasSubstr("a link to nowhere"));
  EXPECT_THAT(error_of(folder / "no/out"), HasSubstr("No such file or directory"));
  EXPECT_THAT(error_of(folder / "file/out"), HasSubstr("Not a directory"));
  EXPECT_THAT(error_of(""), HasSubstr("cannot open"));
  LocalEnvironment env("link");
  env.from_collection(numbers(1)).sink(to_lines(folder / "link"));
  run(env);
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(folder.text("file"), "0\n");
}

}  // namespace
}  // namespace ebb
