#include "ebb/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

namespace ebb {
namespace {

using ::testing::ElementsAre;
using namespace std::string_view_literals;

TEST(Utf8, AcceptsWhatIsWellFormed) {
  for (const std::string_view text : {""sv, "abc"sv, "\0"sv, "\xc2\x80"sv, "é€😀"sv, "\xed\x9f\xbf"sv,
                                      "\xee\x80\x80"sv, "\xf4\x8f\xbf\xbf"sv}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
}

TEST(Utf8, RefusesOverlongSurrogatesAndCutSequences) {
  for (const std::string_view text :
       {"\x80"sv, "\xc0\xaf"sv, "\xc1\xbf"sv, "\xc2"sv, "\xe0\x9f\xbf"sv, "\xe2\x82"sv, "\xed\xa0\x80"sv,
        "\xef\xbf"sv, "\xf0\x8f\xbf\xbf"sv, "\xf4\x90\x80\x80"sv, "\xf5\x80\x80\x80"sv, "\xff"sv,
        "a\xc2"
        "b"sv}) {
    EXPECT_FALSE(is_utf8(text)) << ::testing::PrintToString(text);
  }
}

TEST(Printable, MakesForeignTextHarmless) {
  EXPECT_EQ(printable("plain é\n\ttext"), "plain é\n\ttext");
  EXPECT_EQ(printable("\x1b[31mred\r\x7f"), "?[31mred??");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a?b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "?31m")
      << "a control character of two bytes";
  EXPECT_EQ(printable("\xff\xc2"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");
  EXPECT_TRUE(is_utf8(printable("\xf0\x9f\x98")));
}

TEST(Split, KeepsEmptyParts) {
  EXPECT_THAT(split("a,b,,c", ','), ElementsAre("a", "b", "", "c"));
  EXPECT_THAT(split("", ','), ElementsAre(""));
  EXPECT_THAT(split(",", ','), ElementsAre("", ""));
  EXPECT_THAT(split("abc", ','), ElementsAre("abc"));
}

TEST(EqualInConstantTime, IsEquality) {
  EXPECT_TRUE(equal_in_constant_time("", ""));
  EXPECT_TRUE(equal_in_constant_time("abc\xff", "abc\xff"));
  EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
  EXPECT_FALSE(equal_in_constant_time("\x7f", "\xff"));
}

TEST(ShellQuoted, IsLeftAloneWhereNothingNeedsIt) {
  EXPECT_EQ(shell_quoted("a/b-c_d=1.2:3,4%@+"), "a/b-c_d=1.2:3,4%@+");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
}

TEST(ShellQuoted, AShellReadsItBack) {
  for (const std::string word :
       {"", "a b", "it's", "$HOME `id` \"x\"", "\\", "a\nb", "~", "*", "!", "#", "é", "'''"}) {
    const std::string command = "printf %s. " + shell_quoted(word);
    FILE* shell = ::popen(command.c_str(), "re");
    ASSERT_NE(shell, nullptr);
    std::array<char, 256> got{};
    const std::size_t size = std::fread(got.data(), 1, got.size(), shell);
    EXPECT_EQ(::pclose(shell), 0);
    EXPECT_EQ(std::string(got.data(), size), word + ".");
  }
}

}  // namespace
}  // namespace ebb
