#include "ebb/model/json.h"

#include <gtest/gtest.h>

namespace ebb::model {
namespace {

Error refused(std::string_view text, JsonLimits limits = {}) {
  auto read = parse_json(text, limits);
  EXPECT_FALSE(read) << text;
  return read ? Error{} : read.error();
}

TEST(ParseJson, TakesWhatJsonIs) {
  for (const char* text : {"{}", " [1, -2, 3.5e2, true, false, null] ", R"("é😀é\n")", "0",
                           R"({"a":{"a":1},"b":[{"a":1},{"a":2}]})", "18446744073709551615"}) {
    EXPECT_TRUE(parse_json(text)) << text;
  }
  EXPECT_EQ(parse_json(R"({"long key that is cut":["x"]})")->at("long key that is cut").at(0), "x");
}

TEST(ParseJson, RefusesWhatIsCutOffOrFollowed) {
  EXPECT_EQ(refused("").message, "there is no JSON text: the body is empty");
  EXPECT_EQ(refused("{\"a\":").message, "the JSON text is cut off at byte 5");
  EXPECT_EQ(refused("{\"a\":").type, "malformed-json");
  for (const char* text : {"{} {}", "{}x", "nul", "[1,]", "{\"a\" 1}", "{'a':1}", "[01]", "[+1]", "[.5]",
                           "NaN", "// no\n1", "\"\t\"", "\xef\xbb\xbf{}"}) {
    EXPECT_EQ(refused(text).code, Errc::invalid) << text;
  }
}

TEST(ParseJson, RefusesTooDeepAndTooLarge) {
  const std::string deep = std::string(32, '[') + std::string(32, ']');
  EXPECT_TRUE(parse_json(deep));
  EXPECT_NE(refused("[" + deep + "]").message.find("deeper than 32"), std::string::npos);
  EXPECT_FALSE(parse_json(std::string(1 << 20, '[')));
  const std::string large = "\"" + std::string(100, 'x') + "\"";
  EXPECT_TRUE(parse_json(large, {.bytes = 102, .depth = 1}));
  EXPECT_EQ(refused(large, {.bytes = 101, .depth = 1}).code, Errc::too_large);
}

TEST(ParseJson, RefusesAKeyThatStandsTwice) {
  const Error error = refused(R"({"gpus":1,"spec":{"x":1,"b":[0,[1,2],{"n":1,"m":2,"n":3}]}})");
  EXPECT_EQ(error.type, "duplicate-key");
  EXPECT_EQ(error.pointer, "/spec/b/2/n");
  // The same key written with an escape is the same key.
  EXPECT_EQ(refused(R"({"a":1,"\u0061":2})").pointer, "/a");
  EXPECT_EQ(refused(R"({"":1,"":2})").pointer, "/");
}

TEST(ParseJson, RefusesNulAndBytesThatAreNoUtf8) {
  const Error nul = refused(R"({"command":["echo","a\u0000b"]})");
  EXPECT_EQ(nul.pointer, "/command/1");
  EXPECT_FALSE(parse_json(R"({"a\u0000":1})"));
  EXPECT_FALSE(parse_json("\"a\xff\""));
  EXPECT_FALSE(parse_json("\"\xed\xa0\x80\""));  // a surrogate
  EXPECT_FALSE(parse_json(R"("\ud800")"));       // half a pair
  EXPECT_FALSE(parse_json("\"\xc0\xaf\""));      // overlong
  EXPECT_FALSE(parse_json(std::string_view("{}\0", 3)));
}

// What is written must be what was read, to the last bit.
TEST(ParseJson, ANumberIsTheNearestDouble) {
  const std::pair<std::string, double> numbers[] = {
      {"30000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
       ".5",
       3e100},
      {"123456789012345678901234567890.25e-40", 123456789012345678901234567890.25e-40},
      {"1e-320", 1e-320},
      {"0.1", 0.1},
      {"-2.5", -2.5}};
  for (const auto& [text, number] : numbers) {
    const auto value = ebb::model::parse_json("[" + text + ",7," + text + "]");
    ASSERT_TRUE(value.ok()) << text;
    EXPECT_EQ(value->as_array()[0].as_double(), number) << text;
    EXPECT_EQ(value->as_array()[2].as_double(), number) << text;
  }
}

TEST(ParseJson, TakesAHundredThousandKeys) {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += (i > 0 ? ",\"V" : "\"V") + std::to_string(i) + "\":\"\"";
  auto read = parse_json(text + "}", {.bytes = 4 << 20, .depth = 4});
  ASSERT_TRUE(read);
  EXPECT_EQ(read->as_object().size(), 100'000U);
  EXPECT_FALSE(parse_json(text + ",\"V99999\":1}", {.bytes = 4 << 20, .depth = 4}));
}

TEST(ParseJson, SurvivesEveryCutOfAText) {
  const std::string text =
      R"({"command":["a\u00e9","b"],"ready":{"path":"/h","timeout_s":1.5e1},"env":{"K":null}})";
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(parse_json(std::string_view(text).substr(0, size))) << size;
  }
  EXPECT_TRUE(parse_json(text));
}

}  // namespace
}  // namespace ebb::model
