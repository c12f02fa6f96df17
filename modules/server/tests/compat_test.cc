#include "compat.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace ebb::server::compat {
namespace {

namespace json = boost::json;

Request with_body(std::string body, std::string type = "application/json") {
  Request request;
  request.method = "POST";
  request.body = std::move(body);
  request.headers = {{"content-type", std::move(type)}};
  return request;
}

// "type loc msg" of the first error.
std::string first_error(const std::optional<Response>& response) {
  if (!response) return "none";
  const json::object error = json::parse(response->body).at("detail").at(0).as_object();
  return std::string(error.at("type").as_string()) + " " + json::serialize(error.at("loc"));
}

TEST(Fields, CoercesAsPydanticDoes) {
  Fields fields(with_body(
      R"({"a":"2","b":true,"c":2.0,"d":" 7 ","yes":"yes","no":"OFF","one":1,"f":"0.5","t":"x","o":{"k":1},"n":null})"));
  EXPECT_EQ(fields.integer("a"), 2);
  EXPECT_EQ(fields.integer("b"), 1);
  EXPECT_EQ(fields.integer("c"), 2);
  EXPECT_EQ(fields.integer("d"), 7);
  EXPECT_EQ(fields.integer("n"), std::nullopt);
  EXPECT_EQ(fields.integer("absent"), std::nullopt);
  EXPECT_EQ(fields.boolean("yes"), true);
  EXPECT_EQ(fields.boolean("no"), false);
  EXPECT_EQ(fields.boolean("one"), true);
  EXPECT_EQ(fields.number("f"), 0.5);
  EXPECT_EQ(fields.text("t", true), "x");
  EXPECT_EQ(fields.object("o"), R"({"k":1})");
  EXPECT_FALSE(fields.errors());
}

TEST(Fields, NamesWhatIsWrongAsPydanticDoes) {
  const auto error = [](const std::string& body, auto read) {
    Fields fields(with_body(body));
    read(fields);
    return first_error(fields.errors());
  };
  const auto integer = [](Fields& fields) { (void)fields.integer("x"); };
  EXPECT_EQ(error(R"({"x":2.5})", integer), R"(int_from_float ["body","x"])");
  EXPECT_EQ(error(R"({"x":"two"})", integer), R"(int_parsing ["body","x"])");
  EXPECT_EQ(error(R"({"x":"2.5"})", integer), R"(int_parsing ["body","x"])");
  EXPECT_EQ(error(R"({"x":[1]})", integer), R"(int_type ["body","x"])");
  EXPECT_EQ(error(R"({"x":1})", [](Fields& f) { (void)f.text("x"); }), R"(string_type ["body","x"])");
  EXPECT_EQ(error(R"({"x":1})", [](Fields& f) { (void)f.object("x"); }), R"(dict_type ["body","x"])");
  EXPECT_EQ(error(R"({})", [](Fields& f) { (void)f.object("x"); }), R"(missing ["body","x"])");
  EXPECT_EQ(error(R"({"x":null})", [](Fields& f) { (void)f.text("x", true); }),
            R"(string_type ["body","x"])");
  EXPECT_EQ(error(R"({"x":"perhaps"})", [](Fields& f) { (void)f.boolean("x"); }),
            R"(bool_parsing ["body","x"])");
  EXPECT_EQ(error(R"([1])", integer), R"(model_attributes_type ["body"])");
  EXPECT_EQ(error("", integer), R"(missing ["body"])");
}

TEST(Fields, TextPlainIsNoObject) {
  const Request request = with_body(R"({"x":1})", "text/plain");
  EXPECT_FALSE(unparsable(request));
  EXPECT_EQ(first_error(Fields(request).errors()), R"(model_attributes_type ["body"])");
}

TEST(Unparsable, IsJsonInvalidWithItsPlace) {
  EXPECT_EQ(first_error(unparsable(with_body(R"({"x":)"))), R"(json_invalid ["body",5])");
  EXPECT_FALSE(unparsable(with_body(R"({"x":1})")));
  EXPECT_FALSE(unparsable(with_body("")));
}

TEST(StatusName, CountsReleasingAsRunning) {
  EXPECT_EQ(status_name(model::JobState::releasing), "RUNNING");
  EXPECT_EQ(status_name(model::JobState::queued), "QUEUED");
  EXPECT_EQ(status_name(model::JobState::cancelled), "CANCELLED");
}

}  // namespace
}  // namespace ebb::server::compat
