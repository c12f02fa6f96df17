#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ebb/base/ids.h"
#include "ebb/base/listeners.h"
#include "ebb/process/ipc_sweep.h"
#include "ebb/process/proc.h"

namespace ebb::process {

// What of Ebb is on this machine, seen from outside: nothing here asks a daemon or a keeper.

/// Where one daemon has its things. What is empty is not looked at.
struct CensusPlaces {
  std::string state_dir;  ///< as the daemon was given it: its cgroups' name is made of it
  std::string server;     ///< path of its socket, which its jobs have in EBB_SERVER
  std::string scratch;    ///< the scratch base
  std::string attempts;   ///< folder with one folder for each attempt; empty: STATE/attempts
  std::vector<std::string> lock_dirs;
  std::uint16_t first_port = 0, last_port = 0;  ///< both 0: none
};

/// By what a process was found to be of an attempt; a process may be found by several.
struct Evidence {
  bool cgroup = false;  ///< it is in the attempt's cgroup
  bool environment =
      false;              ///< EBB_JOB_ID and EBB_ATTEMPT, as when it was executed, or the limit that marks it
  bool ancestry = false;  ///< it descends from the attempt's keeper
  bool session = false;   ///< it shares a session with another that was found
};

struct CensusProcess {
  ProcessIdentity identity;
  pid_t ppid = 0;
  uid_t uid = 0;
  std::string comm;  ///< printable
  bool zombie = false;
  bool keeper = false;               ///< an ebb-keeper; then `label` is its first argument
  std::string label;                 ///< an attempt's id, or the name of a side process
  bool orphan = false;               ///< its parent is process 1 or a service manager
  std::optional<AttemptId> attempt;  ///< nothing: a side process's keeper
  Evidence evidence;
  std::string server;  ///< EBB_SERVER, where it could be read
  bool ours = false;   ///< of the daemon at `places`; another daemon's are listed, too
};
struct CensusCgroup {
  std::string path;  ///< its folder
  AttemptId attempt;
  std::size_t processes = 0;  ///< in it and below
  bool ours = false;
};
struct CensusAttempt {
  AttemptId attempt;
  std::string folder;
  bool socket = false;      ///< keeper.sock is there
  bool end_record = false;  ///< so is `end`
};
/// A folder or mount in scratch; `attempt` is nothing where its name is none.
struct CensusFolder {
  std::string path;
  std::optional<AttemptId> attempt;
};
struct CensusHolder {
  pid_t pid = 0;
  uid_t uid = 0;
  std::string comm;
};
struct CensusLock {
  std::string path;
  std::string name;                   ///< "gpu-…", "port-…"
  std::vector<CensusHolder> holders;  ///< that we may look at; a shared lock has several
};
struct CensusListener {
  Listener listener;
  std::vector<CensusHolder> holders;
  std::optional<AttemptId> attempt;  ///< of a holder, or by its cgroup
};

struct Census {
  CensusPlaces places;
  std::vector<CensusProcess> processes;  ///< those of attempts, and keepers
  std::vector<CensusCgroup> cgroups;
  std::vector<CensusAttempt> attempts;
  std::vector<CensusFolder> scratch;
  std::vector<CensusFolder> mounts;  ///< in the state and scratch folders
  std::vector<CensusLock> locks;     ///< that are held
  std::vector<CensusListener> listeners;
  std::vector<IpcObject> ipc;
  std::vector<std::string> unseen;  ///< what could not be looked at, in words
};

/// Looks. Blocks for as long as /proc takes (about 0.1 ms a process). Something that could not be looked at
/// is named in `unseen`, never guessed. Any thread.
[[nodiscard]] Census take_census(const CensusPlaces& places);

/// What should be there, from whoever knows: the daemon's journal or its API.
struct Expected {
  std::set<AttemptId> living;    ///< starting, running, releasing, or quarantined
  std::set<JobId> jobs;          ///< further jobs of this daemon, so that theirs count as ours
  std::set<std::string> locks;   ///< names of leased and quarantined things: "gpu-…", "port-38001"
  pid_t daemon = 0;              ///< 0: none lives
  std::vector<IpcClaim> shared;  ///< ended attempts that shared the machine's IPC
};

struct Leftover {
  enum class Kind { process, keeper, cgroup, socket, scratch, mount, lock, listener, ipc, missing };
  Kind kind = Kind::process;
  std::string what;    ///< names it, the same in two censuses: "process 4711 (python3)"
  std::string detail;  ///< how it was found, whose it was
  std::string advice;  ///< what to do
  std::optional<AttemptId> attempt;
  std::optional<ProcessIdentity> process;  ///< to end it by open_if_same()
};
[[nodiscard]] const char* kind_text(Leftover::Kind kind);

/// What is there and should not be; `missing` is a living attempt without a keeper. Another daemon's things
/// are never leftovers, nor are strangers. Pure.
[[nodiscard]] std::vector<Leftover> compare(const Census& census, const Expected& expected);

/// Those of `second` that were in `first`: the world goes on while it is looked at, so a leftover counts only
/// when it is there in two censuses, each compared with what was expected before *and* after it. Pure.
[[nodiscard]] std::vector<Leftover> confirm(const std::vector<Leftover>& first, std::vector<Leftover> second);

}  // namespace ebb::process
