#include "leader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ebb/base/files.h"
#include "ebb/process/leader_note.h"
#include "world.h"

namespace ebb::process {
namespace {

// A keeper can be killed at any moment after the program has begun, and nobody else knows its number then.
TEST(Leader, HasNotedItsNumberWhenItsProgramBegins) {
  const testing::TempDir folder;
  LaunchSpec spec;
  spec.argv = {"/bin/sh", "-c", "[ \"$(cat leader)\" = $$ ]"};
  spec.workdir = folder.path();
  const auto attempt = open_file(folder.path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(attempt.ok());
  const UniqueFd note = open_leader_note(attempt->get());
  LeaderPlan plan(spec);
  plan.out = STDOUT_FILENO;
  plan.err = STDERR_FILENO;
  plan.note = note.get();
  const pid_t child = ::fork();
  if (child == 0) {
    LeaderFailure failure;
    run_leader(plan, failure);
    ::_exit(99);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(noted_leader(folder.path()), child);
}

}  // namespace
}  // namespace ebb::process
