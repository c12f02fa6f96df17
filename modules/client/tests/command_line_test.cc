#include "ebb/client/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace ebb::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Result<CutWords> cut(std::vector<std::string> words) {
  return cut_words(std::move(words), [](std::string_view option) -> std::optional<bool> {
    if (option == "--gpus" || option == "--env" || option == "--priority") return true;
    if (option == "-q" || option == "--clean-env") return false;
    return std::nullopt;
  });
}

TEST(CutWords, CommandBeginsAfterTheFirstDashes) {
  const auto words = cut({"--gpus", "2", "--", "prog", "--", "--gpus", "3"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->options, ElementsAre("--gpus=2"));
  EXPECT_THAT(words->command, ElementsAre("prog", "--", "--gpus", "3"));
}

TEST(CutWords, CommandBeginsAtTheFirstWordThatIsNoOptionAndNoValue) {
  const auto words = cut({"-q", "--gpus", "2", "--clean-env", "prog", "-q", "--gpus", "3"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->options, ElementsAre("-q", "--gpus=2", "--clean-env"));
  EXPECT_THAT(words->command, ElementsAre("prog", "-q", "--gpus", "3"));
}

TEST(CutWords, AValueThatLooksLikeAnOptionStaysAValue) {
  const auto words = cut({"--priority", "-5", "--env", "--", "prog"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->options, ElementsAre("--priority=-5", "--env=--"));
  EXPECT_THAT(words->command, ElementsAre("prog"));
}

TEST(CutWords, AJoinedValueIsNoWordOfItsOwn) {
  const auto words = cut({"--env=K=a b", "prog"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->options, ElementsAre("--env=K=a b"));
  EXPECT_THAT(words->command, ElementsAre("prog"));
}

TEST(CutWords, AnUnknownOptionIsLeftForTheParserToRefuse) {
  const auto words = cut({"--after", "prog"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->options, ElementsAre("--after"));
  EXPECT_THAT(words->command, ElementsAre("prog"));
}

TEST(CutWords, ASingleDashIsACommand) {
  const auto words = cut({"-", "x"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->options, IsEmpty());
  EXPECT_THAT(words->command, ElementsAre("-", "x"));
}

TEST(CutWords, ShellStringStandsInPlaceOfTheCommand) {
  const auto words = cut({"--gpus", "1", "-c", "[ -f x ]"});
  ASSERT_TRUE(words);
  EXPECT_THAT(words->command, ElementsAre("/bin/bash", "-c", "[ -f x ]"));
}

TEST(CutWords, NothingFollowsAShellString) {
  const auto words = cut({"-c", "true", "--gpus", "2"});
  ASSERT_FALSE(words);
  EXPECT_EQ(words.error().code, Errc::invalid);
  EXPECT_THAT(words.error().message, HasSubstr("--gpus"));
  EXPECT_FALSE(cut({"-c"}));
}

TEST(Command, AQuotedShellStringIsRefusedWithTheStatusOfCommandNotFound) {
  const auto checked = check_command({"python3 train.py"}, "/tmp");
  ASSERT_FALSE(checked);
  EXPECT_EQ(submission_exit_status(checked.error()), 127);
  EXPECT_THAT(checked.error().message, HasSubstr("python3 train.py"));
}

TEST(Command, AWordWithSpacesThatIsAFileIsTaken) {
  const std::string folder = testing::TempDir() + "/with space";
  std::filesystem::create_directories(folder);
  EXPECT_TRUE(check_command({folder}, "/"));
  EXPECT_TRUE(check_command({"with space"}, testing::TempDir()));
  EXPECT_TRUE(check_command({"python3", "train.py"}, "/"));
  std::filesystem::remove(folder);
}

TEST(Text, IsUtf8OrRefusedWithItsPlace) {
  const auto said = [](auto change) {
    model::JobRequest request;
    request.command = {"echo", "caf\xc3\xa9"};
    change(request);
    const auto checked = check_text(request);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(said([](auto&) {}), "");
  EXPECT_THAT(said([](auto& r) { r.command->push_back("caf\xe9"); }),
              HasSubstr("argument 2 is no UTF-8 text"));
  EXPECT_THAT(said([](auto& r) { (r.env.emplace())["K"] = "\xff"; }), HasSubstr("--env K "));
  EXPECT_THAT(said([](auto& r) { (r.env.emplace())["K\xff"] = "v"; }), HasSubstr("--env K"));
  EXPECT_THAT(said([](auto& r) { r.name = "\xff"; }), HasSubstr("--name "));
  EXPECT_THAT(said([](auto& r) { r.group = "\xff"; }), HasSubstr("--group "));
  EXPECT_THAT(said([](auto& r) { r.workdir = "/\xff"; }), HasSubstr("--workdir "));
  EXPECT_THAT(said([](auto& r) { r.ready = model::Ready{.path = "/\xff", .timeout_s = {}}; }),
              HasSubstr("--ready "));
}

TEST(EnvFile, LinesAreTakenAsTheyAre) {
  std::vector<std::string> lines;
  ASSERT_TRUE(parse_env_file("# comment\nA=1 # no comment\n\nB\nC=\"q\"\r\n", "f", lines));
  EXPECT_THAT(lines, ElementsAre("A=1 # no comment", "B", "C=\"q\""));
}

TEST(EnvFile, AnErrorNamesFileAndLine) {
  std::vector<std::string> lines;
  const auto parsed = parse_env_file("A=1\n=2\n", "my.env", lines);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("my.env:2"));
}

TEST(MemoryWarning, IsForJobsWhoseMemoryIsOnlyCounted) {
  model::Job job;
  EXPECT_EQ(memory_warning(job), "");
  job.spec.memory_bytes = std::int64_t{8} << 30;
  EXPECT_EQ(memory_warning(job), "") << "an older daemon does not say";
  job.memory_enforced = true;
  EXPECT_EQ(memory_warning(job), "");
  job.memory_enforced = false;
  EXPECT_EQ(memory_warning(job),
            "--memory 8GiB: counted by the queue, but not enforced here; see 'ebb doctor'");
}

TEST(OptionWords, AFieldIsCalledByItsOption) {
  const auto said = [](std::string pointer, std::string message) {
    return in_option_words({.code = Errc::invalid,
                            .message = std::move(message),
                            .pointer = std::move(pointer),
                            .type = {}})
        .message;
  };
  EXPECT_EQ(said("/gpus", "gpus must be 0 to 4, not -1"), "--gpus must be 0 to 4, not -1");
  EXPECT_EQ(said("/gpu_ids/0", "gpu_ids[0] is 9"), "--gpu-ids[0] is 9");
  EXPECT_EQ(said("/memory_bytes", "memory_bytes must be"), "--memory must be");
  EXPECT_EQ(said("/time_s", "time_s must be"), "--time must be");
  EXPECT_EQ(said("", "draining"), "draining");
  EXPECT_EQ(said("/owner/lease_s", "owner.lease_s must be"), "--owner-lease must be");
  EXPECT_EQ(said("/ready/timeout_s", "ready.timeout_s must be"), "--ready-timeout must be");
  EXPECT_EQ(said("/ready/path", "ready.path must begin"), "--ready must begin");
  EXPECT_EQ(said("/ready", "ready asks the job's port"), "--ready asks the job's port");
  EXPECT_EQ(said("/env/K", "env.K has 9 bytes"), "--env K has 9 bytes");
  EXPECT_EQ(said("/command/1", "command[1] has 9 bytes"), "argument 1 has 9 bytes");
}

TEST(ExitStatus, TellsWhoMustAct) {
  const auto status = [](Errc code, std::string type = {}) {
    return command_exit_status({.code = code, .message = {}, .pointer = {}, .type = std::move(type)});
  };
  EXPECT_EQ(status(Errc::not_found), 1);
  EXPECT_EQ(status(Errc::exhausted), 1);
  EXPECT_EQ(status(Errc::unavailable, "draining"), 1);
  EXPECT_EQ(status(Errc::impossible), 2);
  EXPECT_EQ(status(Errc::unavailable, "no-daemon"), 3);
  EXPECT_EQ(status(Errc::forbidden), 4);
  EXPECT_EQ(status(Errc::unauthenticated), 4);
}

}  // namespace
}  // namespace ebb::client
