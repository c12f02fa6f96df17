#include "routes.h"

#include <gtest/gtest.h>

#include <set>

namespace ebb::server {
namespace {

Request request(std::string method, const std::string& target) {
  Request made;
  made.method = std::move(method);
  auto parsed = parse_target(target);
  EXPECT_TRUE(parsed.ok()) << target;
  if (parsed) made.target = std::move(*parsed);
  return made;
}

TEST(Routes, EveryOneMatchesItself) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const Route& route : routes()) {
    EXPECT_TRUE(seen.emplace(route.method, route.pattern).second) << route.pattern << " stands twice";
    std::string target(route.pattern);
    if (const std::size_t begin = target.find('{'); begin != std::string::npos) {
      target.replace(begin, target.find('}') - begin + 1, "00000000");
    }
    Request one = request(std::string(route.method), target);
    const Match found = match(one);
    ASSERT_NE(found.route, nullptr) << route.pattern;
    EXPECT_EQ(found.route->pattern, route.pattern);
  }
}

TEST(Routes, NeedAKeyButForTheFewThatAreOpen) {
  for (const Route& route : routes()) {
    const bool open = route.access == Access::open || route.access == Access::compat_open;
    const std::set<std::string_view> expected = {"/healthz",      "/readyz", "/metrics",
                                                 "/openapi.json", "/",       "/register"};
    EXPECT_EQ(open, expected.contains(route.pattern)) << route.pattern;
    if (!route.pattern.starts_with("/v1/")) continue;
    EXPECT_EQ(route.access, Access::caller) << route.pattern;
  }
}

TEST(Match, GivesPathVariables) {
  Request one = request("GET", "/v1/jobs/7f3a91c2/why?x=1");
  ASSERT_NE(match(one).route, nullptr);
  EXPECT_EQ(one.path.at("id"), "7f3a91c2");
  EXPECT_EQ(one.query("x"), "1");
}

TEST(Match, ServesHeadByGet) {
  Request one = request("HEAD", "/healthz");
  ASSERT_NE(match(one).route, nullptr);
}

TEST(Match, SaysWhichMethodsAreRight) {
  Request one = request("PUT", "/v1/jobs/7f3a91c2");
  const Match found = match(one);
  EXPECT_EQ(found.route, nullptr);
  EXPECT_EQ(allow_header(found.allowed), "GET, HEAD, DELETE");
  Request nowhere = request("GET", "/v1/nothing");
  EXPECT_TRUE(match(nowhere).allowed.empty());
  Request empty = request("GET", "/v1/jobs/");
  EXPECT_EQ(match(empty).route, nullptr);
}

TEST(Target, DecodesPathAndQuery) {
  auto target = parse_target("/a%20b/c?x=%2F&y=1+2&z");
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->segments, (std::vector<std::string>{"a b", "c"}));
  EXPECT_EQ(target->query.size(), 3U);
}

TEST(Target, RefusesWhatCouldLeadElsewhere) {
  for (const char* bad : {"", "*", "x", "//evil/x", "http://evil/", "/a/../b", "/a/%2e%2e/b", "/%00", "/%ff",
                          "/%zz", "/?x=%00"}) {
    EXPECT_FALSE(parse_target(bad).ok()) << bad;
  }
  std::string many = "/?";
  for (int i = 0; i < 100; ++i) many += "a=1&";
  EXPECT_FALSE(parse_target(many).ok());
}

}  // namespace
}  // namespace ebb::server
