#include "ebb/client/placeholders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::client {
namespace {

using testing::HasSubstr;

const SidecarUrls kUrls = {{"reward", "http://127.0.0.1:27001"}, {"odd", "{sidecar.reward.url}"}};

std::string replaced(std::string_view text) {
  const auto result = replace_sidecar_urls(text, kUrls, "argument 3");
  return result ? *result : "error: " + result.error().message;
}

TEST(SidecarUrl, IsPutInWhereverItStands) {
  EXPECT_EQ(replaced("url={sidecar.reward.url}/x"), "url=http://127.0.0.1:27001/x");
  EXPECT_EQ(replaced("{sidecar.reward.url}{sidecar.reward.url}"),
            "http://127.0.0.1:27001http://127.0.0.1:27001");
}

TEST(SidecarUrl, WhatIsPutInIsNotLookedAtAgain) {
  EXPECT_EQ(replaced("{sidecar.odd.url}"), "{sidecar.reward.url}");
}

TEST(SidecarUrl, EveryOtherByteStays) {
  for (const char* text : {"{port} {job_id}", "awk '{print $1}'", R"({"a":{"b":1}})", "{{sidecar}}", "{", "}",
                           "{{.Name}}", "${x}", "{sidecar.url}", "{sidecar..url}", "a{b{c", "", "{}"}) {
    EXPECT_EQ(replaced(text), text);
  }
  EXPECT_EQ(replaced("{{sidecar.reward.url}}"), "{http://127.0.0.1:27001}");
}

TEST(SidecarUrl, AnUnknownNameIsRefusedWithItsPlace) {
  const auto result = replace_sidecar_urls("x={sidecar.rewrad.url}", kUrls, "argument 3");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::invalid);
  EXPECT_THAT(result.error().message, HasSubstr("{sidecar.rewrad.url} in argument 3"));
  EXPECT_THAT(result.error().message, HasSubstr("--no-expand"));
}

TEST(SidecarCommand, NamesItsOwnPort) {
  const auto command = expand_sidecar_command(
      "srv --port {port} --dir {workdir} --up {sidecar.reward.url} {x}", "a", 27005, "/home/u", kUrls);
  ASSERT_TRUE(command);
  EXPECT_EQ(*command, "srv --port 27005 --dir /home/u --up http://127.0.0.1:27001 {x}");
}

TEST(SidecarCommand, CannotNameWhatOnlyTheJobHas) {
  for (const char* text : {"{job_id}", "{gpus}", "{scratch}", "{port:1}"}) {
    const auto command = expand_sidecar_command(text, "a", 1, "/", kUrls);
    ASSERT_FALSE(command) << text;
    EXPECT_THAT(command.error().message, HasSubstr("--sidecar a"));
  }
  EXPECT_TRUE(expand_sidecar_command("{port:x}", "a", 1, "/", kUrls));
}

}  // namespace
}  // namespace ebb::client
