#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "codec.h"

namespace ebb::model {
namespace {

using codec::each_member;

// Gives every member a value that is not its default, each a different one.
class Filler {
 public:
  template <typename T>
  void fill(T& value) {
    if constexpr (std::same_as<T, bool>) {
      value = !value;
    } else if constexpr (std::integral<T>) {
      value = static_cast<T>(++count_);
    } else if constexpr (std::same_as<T, double>) {
      value = double(++count_) + 0.25;
    } else if constexpr (std::same_as<T, std::string>) {
      value = "text \"" + std::to_string(++count_) + "\"\n\xc3\xa9\xf0\x9f\x98\x80";
    } else if constexpr (std::same_as<T, WallTime>) {
      value = WallTime(std::chrono::seconds(1'763'938'778) + Duration(++count_));
    } else if constexpr (std::same_as<T, JobId>) {
      value = JobId(0xfffffff0U + static_cast<std::uint32_t>(++count_ % 16));
    } else if constexpr (codec::Enum<T>) {
      value = codec::kValues<T>.back();
    } else if constexpr (codec::kIsOptional<T>) {
      fill(value.emplace());
    } else if constexpr (codec::kIsVector<T>) {
      value.resize(2);
      for (auto& element : value) fill(element);
    } else if constexpr (std::same_as<T, codec::TextMap>) {
      value = {{"A~/b", "1"}, {"", "empty"}, {"é", ""}};
    } else {
      each_member<T>([&](auto member) {
        fill(value.*member.pointer);
        return true;
      });
    }
  }

 private:
  std::int64_t count_ = 0;
};

template <typename T>
class Codec : public testing::Test {};
using Types = testing::Types<StopReason, Exit, Ready, OwnerRequest, JobRequest, OwnerView, Job, JobList,
                             OutsideUse, ReleaseRecord, Report, Gpu, Port, Devices, Holder, Blocker, Why,
                             Event, User, UserList, UserRequest, UserKey, Problem>;
TYPED_TEST_SUITE(Codec, Types);

TYPED_TEST(Codec, RoundTripsWithEveryFieldSet) {
  TypeParam full;
  Filler().fill(full);
  const auto json = to_json(full);
  each_member<TypeParam>([&](auto member) {
    EXPECT_TRUE(json.as_object().contains(member.name)) << member.name;
    EXPECT_FALSE(json.at(member.name).is_null()) << member.name;
    return true;
  });
  auto again = from_json_text<TypeParam>(json_text(full));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(to_json(*again), json);
}

TYPED_TEST(Codec, RoundTripsWithEverythingNull) {
  const auto json = to_json(TypeParam());
  each_member<TypeParam>([&](auto member) {
    using Value = std::remove_cvref_t<decltype(std::declval<TypeParam>().*member.pointer)>;
    EXPECT_EQ(json.at(member.name).is_null(), codec::kIsOptional<Value>) << member.name;
    return true;
  });
  auto again = from_json<TypeParam>(json);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(to_json(*again), json);
}

TYPED_TEST(Codec, TakesAnAbsentOptionalAndMissesARequiredMember) {
  const boost::json::object whole = to_json(TypeParam()).as_object();
  each_member<TypeParam>([&](auto member) {
    using Value = std::remove_cvref_t<decltype(std::declval<TypeParam>().*member.pointer)>;
    boost::json::object part = whole;
    part.erase(member.name);
    auto read = from_json<TypeParam>(part);
    EXPECT_EQ(read.ok(), codec::kIsOptional<Value>) << member.name;
    if (!read) {
      EXPECT_EQ(read.error().pointer, std::string("/") + member.name);
      EXPECT_EQ(read.error().code, Errc::invalid);
    }
    return true;
  });
}

TYPED_TEST(Codec, RefusesAWrongTypeForEveryMember) {
  const boost::json::object whole = to_json(TypeParam()).as_object();
  each_member<TypeParam>([&](auto member) {
    using Value = std::remove_cvref_t<decltype(std::declval<TypeParam>().*member.pointer)>;
    boost::json::object part = whole;
    constexpr bool kTakesBool = std::same_as<Value, bool> || std::same_as<Value, std::optional<bool>>;
    part[member.name] = kTakesBool ? boost::json::value("yes") : boost::json::value(true);
    auto read = from_json<TypeParam>(part);
    EXPECT_FALSE(read) << member.name;
    EXPECT_EQ(read ? "" : read.error().pointer, std::string("/") + member.name);
    return true;
  });
}

TYPED_TEST(Codec, HasASchemaThatNamesEveryMember) {
  const auto schema = json_schema<TypeParam>();
  each_member<TypeParam>([&](auto member) {
    EXPECT_TRUE(schema.at("properties").as_object().contains(member.name)) << member.name;
    return true;
  });
  EXPECT_TRUE(json_schemas().contains(type_name<TypeParam>()));
}

TEST(Schema, RefersOnlyToSchemasThatExist) {
  const auto all = json_schemas();
  const std::string text = boost::json::serialize(all);
  constexpr std::string_view kPrefix = "#/components/schemas/";
  std::size_t references = 0;
  for (std::size_t at = text.find(kPrefix); at != std::string::npos; at = text.find(kPrefix, at + 1)) {
    const std::size_t begin = at + kPrefix.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    EXPECT_TRUE(all.contains(name)) << name;
    ++references;
  }
  EXPECT_GT(references, 10U);
}

TEST(Codec, SaysWhatAFieldMustBeAndWhere) {
  const auto message = [](std::string_view text) {
    auto read = from_json_text<JobRequest>(text);
    EXPECT_FALSE(read) << text;
    return read ? "" : read.error().message + " @" + read.error().pointer;
  };
  EXPECT_EQ(message(R"({"gpus":2.5})"), "gpus must be a whole number, not 2.5 @/gpus");
  EXPECT_EQ(message(R"({"gpus":"two"})"), "gpus must be a whole number, not \"two\" @/gpus");
  EXPECT_EQ(message(R"({"gpus":[2]})"), "gpus must be a whole number, not a list @/gpus");
  EXPECT_EQ(message(R"({"gpus":99999999999999999999})").substr(0, 28), "gpus must be a whole number,");
  EXPECT_EQ(message(R"({"gpus":18446744073709551615})"), "gpus is out of range: 18446744073709551615 @/gpus");
  EXPECT_EQ(message(R"({"command":["a",null]})"), "command[1] must be a string, not null @/command/1");
  EXPECT_EQ(message(R"({"env":{"A/~":1}})"), "env.A/~ must be a string, not 1 @/env/A~1~0");
  EXPECT_EQ(message(R"({"ready":{"timeout_s":1}})"), "ready.path is missing @/ready/path");
  EXPECT_EQ(message(R"({"ready":{"path":"/","timeout_s":true}})"),
            "ready.timeout_s must be a number, not true @/ready/timeout_s");
  EXPECT_EQ(message(R"([])"), "the JSON text must be an object, not a list @");
}

TEST(Codec, RefusesUnknownFieldsAndGuessesWhatWasMeant) {
  auto read = from_json_text<JobRequest>(R"({"command":["true"],"gpu":1})");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().type, "unknown-field");
  EXPECT_EQ(read.error().pointer, "/gpu");
  EXPECT_EQ(read.error().message, "unknown field \"gpu\"; did you mean \"gpus\"?");
  read = from_json_text<JobRequest>(R"({"ready":{"path":"/h","time":1}})");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().pointer, "/ready/time");
  read = from_json_text<JobRequest>(R"({"zzzzzzzz":1})");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, "unknown field \"zzzzzzzz\"");
}

TEST(Codec, IgnoresUnknownFieldsOfANewerServerWhenAsked) {
  auto read =
      from_json_text<Exit>(R"({"code":3,"signal":null,"core_dumped":true})", {}, UnknownMembers::ignore);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->code, 3);
}

TEST(Codec, TakesWholeNumbersHoweverTheyAreWritten) {
  for (const char* text : {R"({"code":2})", R"({"code":2.0})", R"({"code":2e0})"}) {
    auto read = from_json_text<Exit>(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(read->code, 2);
  }
  EXPECT_FALSE(from_json_text<Exit>(R"({"code":2147483648})"));
  EXPECT_FALSE(from_json_text<Exit>(R"({"code":1e300})"));
  EXPECT_FALSE(from_json_text<Ready>(R"({"path":"/","timeout_s":1e999})"));
}

TEST(Codec, WritesUtf8WhateverItIsGiven) {
  Problem problem;
  problem.detail = "file \xff\xfe.txt";
  const auto text = json_text(problem);
  EXPECT_TRUE(is_utf8(text));
  ASSERT_TRUE(from_json_text<Problem>(text));
  OutsideUse use{.pid = 1, .user = "\xc3", .mib = 0};
  EXPECT_TRUE(parse_json(json_text(use)));
  OwnerView infinite{.lease_s = std::numeric_limits<double>::infinity(), .connected = false};
  EXPECT_TRUE(parse_json(json_text(infinite)));
}

TEST(Enum, NamesGoBothWays) {
  EXPECT_EQ(name_of(JobState::releasing), "releasing");
  EXPECT_EQ(*enum_from<StopKind>("owner_lost"), StopKind::owner_lost);
  const auto wrong = enum_from<Outcome>("lost");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("one of released quarantined failed, not \"lost\""),
            std::string::npos);
  for (const JobState state : codec::kValues<JobState>)
    EXPECT_EQ(*enum_from<JobState>(name_of(state)), state);
  EXPECT_EQ(name_of(BlockerKind::outside), "outside");
  EXPECT_EQ(name_of(DeviceState::unknown), "unknown");
  EXPECT_EQ(name_of(ReleaseKind::ipc), "ipc");
}

}  // namespace
}  // namespace ebb::model
