#include "ebb/base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace ebb {
namespace {

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0 || errno != EBADF; }

TEST(UniqueFd, ClosesOnceWhenItGoes) {
  const int raw = open_null();
  {
    const UniqueFd fd(raw);
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFd, EmptyIsMinusOne) {
  const UniqueFd fd;
  EXPECT_FALSE(fd);
  EXPECT_EQ(fd.get(), -1);
}

TEST(UniqueFd, MovesOwnership) {
  UniqueFd a(open_null());
  const int raw = a.get();
  UniqueFd b(std::move(a));
  EXPECT_EQ(a.get(), -1);  // NOLINT(bugprone-use-after-move): what is left is part of the contract
  EXPECT_EQ(b.get(), raw);
  UniqueFd c(open_null());
  const int replaced = c.get();
  c = std::move(b);
  EXPECT_FALSE(is_open(replaced));
  EXPECT_EQ(c.get(), raw);
  EXPECT_TRUE(is_open(raw));
}

TEST(UniqueFd, SurvivesAMoveToItself) {
  UniqueFd a(open_null());
  UniqueFd& same = a;
  a = std::move(same);
  EXPECT_TRUE(is_open(a.get()));
}

TEST(UniqueFd, ReleaseGivesUpWithoutClosing) {
  UniqueFd a(open_null());
  const UniqueFd b(a.release());
  EXPECT_FALSE(a);
  EXPECT_TRUE(is_open(b.get()));
}

TEST(UniqueFd, ResetClosesTheOldOneUnlessItIsTheSame) {
  UniqueFd a(open_null());
  const int first = a.get();
  a.reset(first);
  EXPECT_TRUE(is_open(first));
  a.reset(open_null());
  EXPECT_FALSE(is_open(first));
  a.reset();
  EXPECT_FALSE(a);
}

}  // namespace
}  // namespace ebb
