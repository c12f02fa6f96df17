#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/base/result.h"

namespace ebb::process {

/// A System V object, or a file of POSIX shared memory or message queues, in this IPC and mount namespace.
struct IpcObject {
  enum class Kind { shm, sem, msg, posix_shm, posix_mqueue };
  Kind kind = Kind::shm;
  int id = 0;        ///< System V
  std::string name;  ///< POSIX: the file's path
  uid_t uid = 0;     ///< owner
  uid_t creator_uid = 0;
  pid_t creator = 0;  ///< System V shm: who made it; else 0
  WallTime changed;   ///< made, or last changed; never before it was made
  std::uint64_t bytes = 0;
  std::uint64_t users = 0;  ///< attached (shm), or processes that have it open or mapped (POSIX)
};
[[nodiscard]] std::string describe(const IpcObject& object);

/// Everything that is there. POSIX files in subfolders of /dev/shm are left out: no C library makes them
/// there.
[[nodiscard]] Result<std::vector<IpcObject>> list_ipc();
/// The text of /proc/sysvipc/{shm,sem,msg}; lines that do not read are left out.
[[nodiscard]] std::vector<IpcObject> parse_sysvipc(IpcObject::Kind kind, std::string_view text);

/// What is known of an attempt that shared the machine's IPC, after its last process is gone.
struct IpcClaim {
  AttemptId attempt;
  uid_t uid = 0;
  WallTime started;
  WallTime ended;
  std::vector<pid_t> pids;  ///< every process that it was seen to have
  /// What was there before it started (list_ipc() at its start): never its own.
  std::vector<IpcObject> before;
  /// Whether the uid had no other process at the time (uid_has_processes() said no just before the start and
  /// after the end): then what appeared is the attempt's.
  bool alone = false;
};

/// The rules, in order: never another uid's; never what was there before or changed outside the attempt's
/// life; never what somebody uses; then yes where the creator is one of its processes, or where the attempt
/// was the uid's only one. When in doubt it stays and `ebb audit` names it. Pure.
[[nodiscard]] bool made_by(const IpcObject& object, const IpcClaim& claim);

/// Whether any process of this uid lives, zombies apart; true where that cannot be told.
[[nodiscard]] bool uid_has_processes(uid_t uid);

struct IpcSweep {
  std::vector<IpcObject> removed;
  std::vector<std::string> failed;  ///< "what: why"
};
/// Removes what made_by() says is the attempt's; each is looked at again just before it goes.
[[nodiscard]] Result<IpcSweep> sweep_ipc(const IpcClaim& claim);

/// The two ends of a claim. Just before an attempt's start: what is there, and whether its uid is alone so
/// far (never where what is there cannot be listed); the rest is to be filled in.
[[nodiscard]] IpcClaim claim_before_start(AttemptId attempt, uid_t uid);
/// After its end: sweep_ipc(), with `claim.alone` only where the uid has no process now either.
[[nodiscard]] Result<IpcSweep> sweep_after_end(IpcClaim claim);

}  // namespace ebb::process
