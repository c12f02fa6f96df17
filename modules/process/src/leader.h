#pragma once

#include <array>
#include <string>
#include <vector>

#include "ebb/process/end_record.h"
#include "ebb/process/launch.h"

namespace ebb::process {

/// What a leader's start needs, laid out beforehand: between clone and exec nothing may be allocated. It
/// points into the spec, which must outlive it.
struct LeaderPlan {
  explicit LeaderPlan(const LaunchSpec& spec);

  const LaunchSpec* spec;
  std::vector<char*> argv;  ///< null-terminated, for execve
  std::vector<char*> envp;
  const char* path;           ///< PATH in the job's environment
  std::string oom_score_adj;  ///< as text
  int out = -1;               ///< becomes standard output; standard input is what descriptor 0 is
  int err = -1;
  int memory_group = -1;  ///< cgroup.procs of a v1 group to enter, or -1 (only without a namespace's init)
  int process_group = -1;
  int note = -1;      ///< where it writes its own number first (leader_note.h), or -1
  int die_with = -1;  ///< pidfd of the parent with which the leader dies, or -1
};

/// Why run_leader() came back.
struct LeaderFailure {
  enum class Step : int { none, parent, group, descriptors, nice, rlimit, identity, workdir, exec };
  Step step = Step::none;
  int error = 0;
  bool is_directory = false;
  std::array<char, 8192> path;  ///< exec: the file that could not be executed, empty when none was found

  LeaderFailure() noexcept { path[0] = '\0'; }  // not cleared: each start would pay for its pages
};

/// Becomes the job's leader: new session, its limits, its identity, its folder, its program, in this order.
/// Returns only on failure, with `failure` filled in. Allocates nothing and changes no memory but `failure`,
/// so that it may run between a vfork and an exec.
void run_leader(const LeaderPlan& plan, LeaderFailure& failure) noexcept;

/// Gives back the memory of arguments and environment, which may be megabytes, once the leader has its own
/// copy.
void forget_command(LaunchSpec& spec, LeaderPlan& plan) noexcept;

/// The failure in words for the job's user, with the exit code that belongs to it.
[[nodiscard]] StartFailure describe(const LeaderFailure& failure, const LaunchSpec& spec);

}  // namespace ebb::process
