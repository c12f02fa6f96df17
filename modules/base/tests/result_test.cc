#include "ebb/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace ebb {
namespace {

Error failure() {
  return {.code = Errc::conflict, .message = "taken", .pointer = "/name", .type = "name-taken"};
}

TEST(Result, HoldsAValueOrAnError) {
  Result<int> good = 7;
  EXPECT_TRUE(good.ok());
  EXPECT_TRUE(good);
  EXPECT_EQ(*good, 7);
  *good = 8;
  EXPECT_EQ(good.value(), 8);
  const Result<int> bad = failure();
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, Errc::conflict);
  EXPECT_EQ(bad.error().pointer, "/name");
}

TEST(Result, CarriesWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  EXPECT_EQ(**result, 5);
  const std::unique_ptr<int> taken = *std::move(result);
  EXPECT_EQ(*taken, 5);
  const Result<std::string> text = std::string("abc");
  EXPECT_EQ(text->size(), 3u);
}

TEST(Result, AnErrorCanBeATypeOfValueToo) {
  const Result<std::string> text = std::string("an error's text");
  EXPECT_TRUE(text.ok());
}

TEST(Result, OfNothingIsSuccessOrAnError) {
  EXPECT_TRUE(Result<void>().ok());
  Result<void> bad = failure();
  EXPECT_FALSE(bad);
  const Error moved = std::move(bad).error();
  EXPECT_EQ(moved.message, "taken");
}

TEST(Error, OfErrnoSaysWhatAndWhy) {
  const Error error = errno_error(EACCES, "cannot open /x");
  EXPECT_EQ(error.message, "cannot open /x: Permission denied");
  EXPECT_EQ(error.code, Errc::io);
  EXPECT_EQ(errno_error(ENOENT, "x", Errc::not_found).code, Errc::not_found);
}

}  // namespace
}  // namespace ebb
