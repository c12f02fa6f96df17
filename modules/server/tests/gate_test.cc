#include "gate.h"

#include <gtest/gtest.h>

namespace ebb::server {
namespace {

TEST(BearerKey, TakesExactlyTwoWordsInAnyCase) {
  EXPECT_EQ(bearer_key("Bearer otk_1"), "otk_1");
  EXPECT_EQ(bearer_key("bEARER   otk_1 "), "otk_1");
  for (const char* bad : {"", "Bearer", "otk_1", "Basic otk_1", "Bearer a b", "Bearerotk_1"}) {
    EXPECT_FALSE(bearer_key(bad)) << bad;
  }
}

TEST(HostName, TakesNamesAndAddressesWithAndWithoutPort) {
  EXPECT_EQ(host_name("LocalHost:8765"), "localhost");
  EXPECT_EQ(host_name("[::1]:8765"), "::1");
  EXPECT_EQ(host_name("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(host_name("gpu.example.org."), "gpu.example.org");
  for (const char* bad : {"", ":80", "[::1", "a:b", "localhost:80x", "[::1]x"})
    EXPECT_FALSE(host_name(bad)) << bad;
}

TEST(HostAllowed, RefusesNamesThatAreNotThisServers) {
  daemon::Config config;
  config.jobs.advertise = "GPU.example.org";
  Remote remote;
  remote.local_address = "10.1.2.3";
  for (const char* good :
       {"localhost", "127.0.0.1:8765", "127.9.9.9", "[::1]:1", "10.1.2.3", "gpu.example.org:80"}) {
    EXPECT_TRUE(host_allowed(good, remote, config)) << good;
  }
  for (const char* bad :
       {"evil.example", "10.1.2.4", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]"}) {
    EXPECT_FALSE(host_allowed(bad, remote, config)) << bad;
  }
}

TEST(SameOrigin, ComparesSchemeHostAndPort) {
  EXPECT_TRUE(same_origin("http://127.0.0.1:8765", "127.0.0.1:8765"));
  EXPECT_FALSE(same_origin("http://127.0.0.1:8766", "127.0.0.1:8765"));
  EXPECT_FALSE(same_origin("null", "127.0.0.1:8765"));
  EXPECT_FALSE(same_origin("http://", ""));
}

}  // namespace
}  // namespace ebb::server
