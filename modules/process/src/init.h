#pragma once

#include <sys/types.h>

#include <cstdint>

#include "ebb/process/launch.h"
#include "leader.h"

namespace ebb::process {

// The first process of an attempt's PID namespace: it arranges the namespaces, starts the leader, reaps, and
// dies with the keeper, by which the kernel ends everything else in there. It talks with the keeper over a
// SOCK_SEQPACKET pair.

enum class InitNews : std::uint32_t {
  started =
      1,  ///< leader runs; its pid travels as the packet's SCM_CREDENTIALS, so that the kernel translates it
  start_failed = 2,   ///< value: exit code; text: message
  leader_exited = 3,  ///< value: wait status; count: processes left
  signalled = 4,      ///< answer to kInitTerminate; count: processes that there were
};

/// One packet from the init, followed by its text. Both sides are the same program, so it travels as it is.
struct InitReport {
  InitNews kind = InitNews::started;
  std::int32_t value = 0;
  std::uint32_t count = 0;
};

/// The keeper's only command: TERM, then CONT, to every process of the namespace, atomically with regard to
/// forks.
inline constexpr char kInitTerminate = 'T';

struct InitPlan {
  LaunchSpec* spec = nullptr;
  LeaderPlan* leader = nullptr;
  int channel = -1;  ///< this side of the pair
  int keeper = -1;   ///< pidfd of the keeper, opened before the clone
  uid_t uid = 0;     ///< the keeper's, for the map of a user namespace
  gid_t gid = 0;
};

/// The init's life; returns its exit status. `plan` is an InitPlan*.
int init_main(void* plan) noexcept;

/// Sends a start_failed report.
void report_failure(int channel, const StartFailure& failure) noexcept;

}  // namespace ebb::process
