// Files as sources: lines, CSV, JSON.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "ebb/base/unique_fd.h"
#include "folder.h"

namespace ebb {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> lines_of(const std::string& path) {
  LocalEnvironment env("lines");
  auto lines = env.from_lines(path).collect();
  run(env);
  return lines.get();
}

TEST(Lines, AreGivenWithoutTheirEnds) {
  const Folder folder;
  EXPECT_THAT(lines_of(folder.file("a", "one\ntwo\r\n\n thr\ree \n")),
              ElementsAre("one", "two", "", " thr\ree "));
  EXPECT_THAT(lines_of(folder.file("b", "one\nlast")), ElementsAre("one", "last"));
  EXPECT_THAT(lines_of(folder.file("c", "\n")), ElementsAre(""));
  EXPECT_THAT(lines_of(folder.file("d", "")), IsEmpty());
  const std::string nul("a\0b", 3);
  EXPECT_THAT(lines_of(folder.file("e", nul)), ElementsAre(nul));
}

TEST(Lines, AreTheSameWhereverABlockEnds) {
  const Folder folder;
  std::string text;
  std::vector<std::string> expected;
  for (std::size_t i = 0; text.size() < 3'000'000; ++i) {
    const std::string line(i * 7919 % (i % 100 == 0 ? 400'000 : 50), static_cast<char>('a' + i % 26));
    expected.push_back(line);
    text += line + (i % 3 == 0 ? "\r\n" : "\n");
  }
  EXPECT_EQ(lines_of(folder.file("many", text)), expected);
}

TEST(Lines, AFileThatIsNotThereFailsBeforeTheFirstRecord) {
  const Folder folder;
  LocalEnvironment env("nowhere");
  int records = 0;
  env.from_collection(numbers(1000)).sink([&](int) { ++records; });
  env.from_lines(folder / "nothing").on_error(skip).sink([](const std::string&) {});
  EXPECT_EQ(failure_of(env).error,
            "ebb: cannot open " + (folder / "nothing") + ": No such file or directory");
  EXPECT_EQ(records, 0);
  LocalEnvironment other("folder");
  other.from_lines(folder / ".").sink([](const std::string&) {});
  EXPECT_THAT(failure_of(other).error, HasSubstr("Is a directory"));
}

TEST(Lines, OneThatIsTooLongIsNamedAndCanBeLeftOut) {
  const Folder folder;
  const std::string path =
      folder.file("long", "0123456789\r\nmore than ten\n" + std::string(1'000'000, 'x') + "\nend");
  LocalEnvironment env("fails");
  env.from_lines(path, {.max_line = 10}).sink([](const std::string&) {});
  EXPECT_EQ(failure_of(env).error, "ebb: " + path + ", line 2: longer than 10 bytes; max_line allows more");
  LocalEnvironment other("skips");
  auto lines = other.from_lines(path, {.max_line = 10}).on_error(skip).name("file").collect();
  const PipelineReport report = run(other);
  EXPECT_THAT(lines.get(), ElementsAre("0123456789", "end"));
  EXPECT_EQ(op(report, "file").in, 4u);
  EXPECT_EQ(op(report, "file").skipped, 2u);
}

TEST(Lines, OfTheStandardInputGoOnWhereItStands) {
  const Folder folder;
  const UniqueFd file(::open(folder.file("in", "one\ntwo\nthree").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::lseek(file.get(), 4, SEEK_SET), 4);
  const UniqueFd before(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  ASSERT_EQ(::dup2(file.get(), STDIN_FILENO), STDIN_FILENO);
  EXPECT_THAT(lines_of("/dev/stdin"), ElementsAre("two", "three"));
  if (before) ::dup2(before.get(), STDIN_FILENO);
}

class Pipe : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0); }
  UniqueFd writer() { return UniqueFd(::open(path_.c_str(), O_WRONLY | O_CLOEXEC)); }
  static void write(const UniqueFd& to, const std::string& text) {
    ASSERT_EQ(::write(to.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  Folder folder_;
  std::string path_ = folder_ / "pipe";
};

TEST_F(Pipe, ThatNobodyWritesToHoldsUpNoEnd) {
  LocalEnvironment env("silent");
  auto lines = env.from_lines(path_).collect();
  Pipeline pipeline = env.submit();
  const BootTime begun = BootClock::now();
  pipeline.stop();
  EXPECT_EQ(pipeline.report().outcome, Outcome::stopped);
  EXPECT_LT(BootClock::now() - begun, 10s);
  EXPECT_THAT(lines.get(), IsEmpty());
}

TEST_F(Pipe, GivesEachLineWhenItComesAndNoHalfOneAtAStop) {
  LocalEnvironment env("pipe");
  auto lines = env.from_lines(path_).map([](std::string s) { return s; }).name("lines").collect();
  Pipeline pipeline = env.submit();
  const UniqueFd to = writer();
  write(to, "one\ntwo\nha");
  await(pipeline, "lines", 2);
  pipeline.drain();
  EXPECT_EQ(pipeline.report().outcome, Outcome::drained);
  EXPECT_THAT(lines.get(), ElementsAre("one", "two"));
}

TEST_F(Pipe, EndsWhenItsWriterDoes) {
  LocalEnvironment env("pipe");
  auto lines = env.from_lines(path_).name("lines").collect();
  Pipeline pipeline = env.submit();
  write(writer(), "one\ntwo");
  pipeline.wait();
  EXPECT_THAT(lines.get(), ElementsAre("one", "two"));
}

// ---- CSV

// All fields of all rows, rows ended by "|".
std::vector<std::string> fields_of(const std::string& path, CsvOptions options = {}) {
  LocalEnvironment env("csv");
  auto rows = env.from_csv(path, options).collect();
  run(env);
  std::vector<std::string> all;
  for (const CsvRow& row : rows.get()) {
    for (std::size_t i = 0; i < row.size(); ++i) all.emplace_back(row[i]);
    all.emplace_back("|");
  }
  return all;
}

TEST(Csv, FieldsAreReadAsRfc4180HasThem) {
  const Folder folder;
  EXPECT_THAT(
      fields_of(folder.file("a", "\xef\xbb\xbfname,stars\r\n\"Hello, \"\"you\"\"\",5\n\n,\"a\nb\"\r\nx,")),
      ElementsAre("Hello, \"you\"", "5", "|", "", "a\nb", "|", "x", "", "|"));
  EXPECT_THAT(fields_of(folder.file("b", "a;b,c\n1;2\r"), {.delimiter = ';', .header = false}),
              ElementsAre("a", "b,c", "|", "1", "2", "|"));
  EXPECT_THAT(fields_of(folder.file("c", "one\n\"\"\n\n")), ElementsAre("", "|"));
  EXPECT_THAT(fields_of(folder.file("d", "a,b\n")), IsEmpty());
  EXPECT_THAT(fields_of(folder.file("e", "")), IsEmpty());
}

TEST(Csv, NumbersAndNames) {
  const Folder folder;
  LocalEnvironment env("csv");
  auto rows = env.from_csv(folder.file("a", "name,stars,price,ok\nlamp,5,2.5,true\nrug,-300,,0\n")).collect();
  run(env);
  const CsvRow lamp = rows.get().at(0), rug = rows.get().at(1);
  EXPECT_THAT(lamp.columns(), ElementsAre("name", "stars", "price", "ok"));
  EXPECT_EQ(lamp["name"], "lamp");
  EXPECT_EQ(lamp[0], "lamp");
  EXPECT_EQ(lamp.get<std::string>("name"), "lamp");
  EXPECT_EQ(lamp.get<int>("stars"), 5);
  EXPECT_EQ(lamp.get<std::uint8_t>(1), 5);
  EXPECT_EQ(lamp.get<double>("price"), 2.5);
  EXPECT_EQ(lamp.get<float>("price"), 2.5F);
  EXPECT_TRUE(lamp.get<bool>("ok"));
  EXPECT_EQ(lamp.get<std::optional<double>>("price"), 2.5);
  EXPECT_EQ(rug.get<std::optional<double>>("price"), std::nullopt);
  EXPECT_FALSE(rug.get<bool>("ok"));
  EXPECT_EQ(rug.get<std::int64_t>("stars"), -300);
  EXPECT_EQ(rug.line(), 3u);
}

TEST(Csv, WhatAFieldIsNotIsSaidWithItsPlace) {
  const Folder folder;
  const std::string path = folder.file("a.csv", "name,stars,name\nlamp,12a,x\nrug,2.5,y\nmat,300,\n");
  LocalEnvironment env("csv");
  auto rows = env.from_csv(path).collect();
  run(env);
  const auto says = [](auto what) { return ::testing::ThrowsMessage<std::exception>(std::move(what)); };
  const CsvRow a = rows.get().at(0), b = rows.get().at(1), c = rows.get().at(2);
  EXPECT_THAT([&] { (void)a.get<int>("stars"); },
              says("ebb: " + path + ", line 2, column 'stars': '12a' is no number"));
  EXPECT_THAT([&] { (void)b.get<int>("stars"); },
              says(HasSubstr("line 3, column 'stars': '2.5' is no whole number")));
  EXPECT_THAT([&] { (void)c.get<std::int8_t>("stars"); }, says(HasSubstr("'300' is out of the range")));
  EXPECT_THAT([&] { (void)c.get<bool>("stars"); }, says(HasSubstr("'300' is neither true nor false")));
  EXPECT_THAT([&] { (void)c.get<double>(2); }, says(HasSubstr("'' is no number")));
  EXPECT_THAT([&] { (void)a["star"]; },
              says("ebb: " + path + ": there is no column 'star'; there are 'name' 'stars' 'name'"));
  EXPECT_THAT([&] { (void)a["name"]; }, says(HasSubstr("several columns have the name 'name'")));
  EXPECT_THAT([&] { (void)a[3]; }, says(HasSubstr("line 2: there is no field 3; it has 3")));
  EXPECT_THAT([&] { (void)CsvRow()[0]; }, says(HasSubstr("there is no field 0")));
}

TEST(Csv, ARowThatIsNoneFailsThePipelineOrIsLeftOut) {
  const Folder folder;
  const std::string path =
      folder.file("a.csv", "a,b\n1,2\n3\n4,5,6\nx\"y,2\n\"q\"z,2\n7,8\n\"" + std::string(200, 'l') +
                               "\",2\n9,10\n11,\"never closed\n12,13");
  LocalEnvironment env("fails");
  env.from_csv(path).sink([](const CsvRow&) {});
  EXPECT_EQ(failure_of(env).error, "ebb: " + path + ", line 3: 1 fields where line 1 has 2");
  LocalEnvironment other("skips");
  auto rows = other.from_csv(path, {.max_row = 100}).on_error(skip).name("file").collect();
  const PipelineReport report = run(other);
  std::vector<std::string> first;
  for (const CsvRow& row : rows.get())
    first.push_back(std::string(row["a"]) + '@' + std::to_string(row.line()));
  EXPECT_THAT(first, ElementsAre("1@2", "7@7", "9@9", "12@11"));
  EXPECT_EQ(op(report, "file").skipped, 6u);
  EXPECT_EQ(op(report, "file").in, 10u);
}

TEST(Csv, RowsAreTheSameWhereverABlockEnds) {
  const Folder folder;
  std::string text = "n,text\n";
  std::vector<std::string> expected;
  for (std::size_t i = 0; text.size() < 3'000'000; ++i) {
    const std::string inner(i * 7919 % (i % 100 == 0 ? 200'000 : 40), '\n');
    text += std::to_string(i) + ",\"" + inner + "\"\"\"\r\n";
    expected.insert(expected.end(), {std::to_string(i), inner + '"', "|"});
  }
  EXPECT_EQ(fields_of(folder.file("many", text)), expected);
}

TEST(Csv, AHeaderThatIsNoneFailsWhateverThePolicy) {
  const Folder folder;
  LocalEnvironment env("header");
  env.from_csv(folder.file("a", "a\"b\n1\n")).on_error(skip).sink([](const CsvRow&) {});
  EXPECT_THAT(failure_of(env).error, HasSubstr("line 1: a quote within a field"));
  LocalEnvironment wide("wide");
  wide.from_csv(folder.file("b", "a,b,c\n"), {.max_columns = 2}).sink([](const CsvRow&) {});
  EXPECT_THAT(failure_of(wide).error, HasSubstr("line 1: more columns than max_columns allows"));
  LocalEnvironment odd("odd");
  EXPECT_THROW((void)odd.from_csv("a", {.delimiter = '"'}), std::invalid_argument);
}

// ---- JSON

TEST(JsonLines, EachLineIsAValue) {
  const Folder folder;
  LocalEnvironment env("json");
  auto values = env.from_json_lines(folder.file("a", "{\"a\": [1, 0.3]}\r\n\n  \n\"x\"\nnull")).collect();
  run(env);
  EXPECT_EQ(values.get(), (std::vector<boost::json::value>{{{"a", {1, 0.3}}}, "x", nullptr}));
}

TEST(JsonLines, ALineThatIsNoJsonFailsThePipelineOrIsLeftOut) {
  const Folder folder;
  const std::string path = folder.file("a", "1\n{\"a\":\n[[[1]]]\n{\"a\":1,\"a\":2}\n2 3\n4");
  LocalEnvironment env("fails");
  env.from_json_lines(path).sink([](const boost::json::value&) {});
  EXPECT_EQ(failure_of(env).error, "ebb: " + path + ", line 2: the JSON text is cut off at byte 5");
  LocalEnvironment other("skips");
  auto values = other.from_json_lines(path, {.max_depth = 2}).on_error(skip).name("file").collect();
  EXPECT_EQ(op(run(other), "file").skipped, 4u);
  EXPECT_EQ(values.get(), (std::vector<boost::json::value>{1, 4}));
}

}  // namespace
}  // namespace ebb
