#include "ebb/client/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "ebb/base/files.h"
#include "ebb/base/ids.h"

namespace ebb::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> places(std::string_view server, const Surroundings& surroundings) {
  const auto candidates = server_candidates(server, surroundings);
  if (!candidates) return {"error: " + candidates.error().message};
  std::vector<std::string> texts;
  for (const Endpoint& endpoint : *candidates) texts.push_back(endpoint.text());
  return texts;
}

Surroundings user() {
  Surroundings surroundings;
  surroundings.uid = 1000;
  surroundings.home = "/home/u";
  return surroundings;
}

TEST(Server, WhatIsNamedNeverFallsThrough) {
  auto here = user();
  here.ebb_socket = "/c.sock";
  EXPECT_THAT(places("", here), ElementsAre("/c.sock"));
  here.ebb_server = "http://h:1";
  EXPECT_THAT(places("", here), ElementsAre("http://h:1"));
  EXPECT_THAT(places("/a.sock", here), ElementsAre("/a.sock"));
}

TEST(Server, OnesOwnComesBeforeTheSystems) {
  auto here = user();
  EXPECT_THAT(places("", here), ElementsAre("/home/u/.local/state/ebb/ebb.sock", "/run/ebb/ebb.sock"));
  here.state_home = "/s";
  EXPECT_THAT(places("", here), ElementsAre("/s/ebb/ebb.sock", "/run/ebb/ebb.sock"));
  here.runtime_dir = "/run/user/1000";
  EXPECT_THAT(places("", here), ElementsAre("/run/user/1000/ebb/ebb.sock", "/run/ebb/ebb.sock"));
}

TEST(Server, RootHasOnlyTheSystems) {
  auto here = user();
  here.uid = 0;
  here.runtime_dir = "/run/user/0";
  EXPECT_THAT(places("", here), ElementsAre("/run/ebb/ebb.sock"));
}

TEST(Server, AnErrorNamesEveryPlaceThatWasTried) {
  const auto candidates = server_candidates("", user());
  ASSERT_TRUE(candidates);
  const Error error = no_daemon(*candidates);
  EXPECT_EQ(error.type, kNoDaemonType);
  EXPECT_THAT(error.message,
              HasSubstr("no daemon at /home/u/.local/state/ebb/ebb.sock or /run/ebb/ebb.sock; start one:"));
}

TEST(ServerUrl, IsReadOrRefusedWithTheWayOut) {
  EXPECT_EQ(parse_endpoint("http://host")->text(), "http://host:8765");
  EXPECT_EQ(parse_endpoint("http://[::1]:9/")->text(), "http://[::1]:9");
  EXPECT_EQ(parse_endpoint("./ebb.sock")->path, "./ebb.sock");
  for (const char* bad : {"", "https://host", "ftp://host", "http://", "http://host/path", "http://key@host",
                          "localhost:8765", "http://host:99999"}) {
    const auto endpoint = parse_endpoint(bad);
    ASSERT_FALSE(endpoint) << bad;
    EXPECT_EQ(endpoint.error().code, Errc::invalid) << bad;
  }
  EXPECT_THAT(parse_endpoint("localhost:8765").error().message, HasSubstr("http://localhost:8765"));
}

class Key : public testing::Test {
 protected:
  void SetUp() override {
    home_ = testing::TempDir() + "/ebb-key-" + random_hex(8);
    std::filesystem::create_directories(home_ + "/.config/ebb");
    here_.home = home_;
  }
  void TearDown() override { std::filesystem::remove_all(home_); }
  void write(mode_t mode) {
    ASSERT_TRUE(replace_file(home_ + "/.config/ebb/key", "otk_1\nrest\n", mode));
    ASSERT_EQ(::chmod((home_ + "/.config/ebb/key").c_str(), mode), 0);
  }
  std::string home_;
  Surroundings here_;
};

TEST_F(Key, ComesFromTheVariableBeforeTheFile) {
  write(0600);
  EXPECT_EQ(*find_key(here_), "otk_1");
  here_.api_key = "otk_2";
  EXPECT_EQ(*find_key(here_), "otk_2");
}

TEST_F(Key, InAFileThatOthersCanReadIsRefused) {
  write(0644);
  const auto key = find_key(here_);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, Errc::forbidden);
  EXPECT_THAT(key.error().message, HasSubstr("chmod 600"));
}

TEST_F(Key, IsEmptyWhereThereIsNone) { EXPECT_EQ(*find_key(here_), ""); }

}  // namespace
}  // namespace ebb::client
