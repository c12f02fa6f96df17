#pragma once

#include <map>
#include <vector>

#include "ebb/process/census.h"

namespace ebb::process {

// The parts of take_census(). Each adds what it finds, and to `unseen` what it could not look at.

/// Of a PID namespace: it was there before any daemon and is nobody's job, so that nothing is missed where it
/// is closed even to root, as in some virtual machines.
inline constexpr pid_t kFirstProcess = 1;

/// Every process, of Ebb or not, as far as the other parts need it.
struct ProcessTable {
  struct Row {
    ProcStat stat;
    std::string cgroup;
    std::optional<AttemptId> marked;  // EBB_JOB_ID and EBB_ATTEMPT
    std::string server;
    std::string keeper_label;  // of an ebb-keeper, also of one that was forked from it
    bool keeper = false;
  };
  std::map<pid_t, Row> rows;
  std::size_t closed = 0;  // those whose environment we may not read
};
[[nodiscard]] ProcessTable read_process_table();

/// The attempt that a cgroup's path names, and whether it is below `base`: the innermost "ebb-…/ID", but one
/// below `base` goes first, since a job may run a daemon of its own.
struct CgroupName {
  AttemptId attempt;
  bool ours = false;
};
[[nodiscard]] std::optional<CgroupName> attempt_of_cgroup(std::string_view path, std::string_view base);

/// Sorts out the table: who is of which attempt. Pure. `census.attempts` must be there.
void find_processes(const ProcessTable& table, Census& census);
void find_cgroups(Census& census);
void find_folders(Census& census);
/// Locks, listeners and their holders: one walk over all descriptors.
void find_held(const ProcessTable& table, Census& census);

/// "the descriptors of 12 processes of other users; root sees them"
[[nodiscard]] std::string unseen_of(const char* what, std::size_t processes);

/// The mount points of /proc/self/mountinfo, with its octal escapes undone.
[[nodiscard]] std::vector<std::string> parse_mount_points(std::string_view mountinfo);

}  // namespace ebb::process
