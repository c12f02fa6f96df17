#include <algorithm>
#include <map>

#include "ebb/base/text.h"
#include "ebb/process/census.h"

namespace ebb::process {
namespace {

using Kind = Leftover::Kind;

std::string name_of(const CensusProcess& process) {
  return std::to_string(process.identity.pid) + " (" + process.comm + ")";
}

std::string of_attempt(const std::optional<AttemptId>& attempt) {
  return attempt ? "attempt " + attempt->str() + ", which should not live" : "no attempt";
}

std::string found_by(const Evidence& evidence) {
  std::string text;
  for (const auto& [there, how] :
       {std::pair{evidence.cgroup, "cgroup"}, std::pair{evidence.environment, "environment"},
        std::pair{evidence.ancestry, "keeper's descendant"}, std::pair{evidence.session, "session"}}) {
    if (there) text += (text.empty() ? "found by its " : ", ") + std::string(how);
  }
  return text;
}

class Comparison {
 public:
  Comparison(const Census& census, const Expected& expected) : census_(census), expected_(expected) {
    for (const CensusProcess& process : census.processes) by_pid_.emplace(process.identity.pid, &process);
    for (const CensusAttempt& attempt : census.attempts) known_.insert(attempt.attempt.job);
    for (const AttemptId attempt : expected.living) known_.insert(attempt.job);
    known_.insert(expected.jobs.begin(), expected.jobs.end());
  }

  std::vector<Leftover> run() {
    processes();
    cgroups();
    folders();
    locks();
    listeners();
    ipc();
    missing();
    return std::move(found_);
  }

 private:
  // Of this daemon, and not to live.
  bool stale(const std::optional<AttemptId>& attempt, bool ours) const {
    return attempt && !expected_.living.contains(*attempt) && (ours || known_.contains(attempt->job));
  }

  void add(Kind kind, std::string what, std::string detail, std::string advice,
           std::optional<AttemptId> attempt, std::optional<ProcessIdentity> process = {}) {
    found_.push_back({.kind = kind,
                      .what = std::move(what),
                      .detail = std::move(detail),
                      .advice = std::move(advice),
                      .attempt = attempt,
                      .process = std::move(process)});
  }

  void processes() {
    for (const CensusProcess& process : census_.processes) {
      const std::string pid = std::to_string(process.identity.pid);
      if (process.keeper && !process.attempt) {
        if (!process.orphan) continue;
        add(Kind::keeper, "keeper " + pid + " of side process " + process.label, "its client is gone",
            "end it: kill " + pid, {}, process.identity);
      } else if (!stale(process.attempt, process.ours)) {
        continue;
      } else if (process.keeper) {
        add(Kind::keeper, "keeper " + pid, "of " + of_attempt(process.attempt),
            "start the daemon, which takes it over, or end it and its job: kill " + pid, process.attempt,
            process.identity);
      } else if (process.zombie && process.ppid == 1) {
        continue;  // killed and ended; process 1 reaps when it comes to it, and until then a number is all it
                   // has
      } else if (process.zombie) {
        add(Kind::process, "zombie " + name_of(process),
            "of " + of_attempt(process.attempt) + "; " + found_by(process.evidence),
            "its parent, " + std::to_string(process.ppid) + ", does not reap it: end that one",
            process.attempt, process.identity);
      } else {
        add(Kind::process, "process " + name_of(process),
            "of " + of_attempt(process.attempt) + "; " + found_by(process.evidence), "end it: kill -9 " + pid,
            process.attempt, process.identity);
      }
    }
  }

  void cgroups() {
    for (const CensusCgroup& group : census_.cgroups) {
      if (!stale(group.attempt, group.ours)) continue;
      const bool empty = group.processes == 0;
      add(Kind::cgroup, "cgroup " + group.path,
          "of " + of_attempt(group.attempt) + ", with " + std::to_string(group.processes) + " processes",
          (empty ? "" : "end what is in it, then ") + std::string("find ") + shell_quoted(group.path) +
              " -depth -type d -exec rmdir {} +",
          group.attempt);
    }
  }

  void folders() {
    for (const CensusAttempt& attempt : census_.attempts) {
      if (!attempt.socket || expected_.living.contains(attempt.attempt)) continue;
      add(Kind::socket, "socket " + attempt.folder + "/keeper.sock", "of " + of_attempt(attempt.attempt),
          "start the daemon, which ends or clears it", attempt.attempt);
    }
    for (const CensusFolder& folder : census_.scratch) {
      if (!folder.attempt || expected_.living.contains(*folder.attempt)) continue;
      // Daemons of one user share the scratch base; another's attempt has processes while it has scratch.
      const bool lives = std::any_of(
          census_.processes.begin(), census_.processes.end(),
          [&](const CensusProcess& process) { return process.attempt == folder.attempt && !process.ours; });
      if (lives && !known_.contains(folder.attempt->job)) continue;
      add(Kind::scratch, "scratch " + folder.path, "of " + of_attempt(folder.attempt),
          "remove it: rm -rf " + shell_quoted(folder.path), folder.attempt);
    }
    for (const CensusFolder& mount : census_.mounts) {
      if (mount.attempt && expected_.living.contains(*mount.attempt)) continue;
      add(Kind::mount, "mount " + mount.path, "of " + of_attempt(mount.attempt),
          "unmount it: umount " + shell_quoted(mount.path), mount.attempt);
    }
  }

  void locks() {
    for (const CensusLock& lock : census_.locks) {
      // A daemon has further locks of its own beside those of leased things.
      if (!lock.name.starts_with("gpu-") && !lock.name.starts_with("port-")) continue;
      for (const CensusHolder& holder : lock.holders) {
        const auto at = by_pid_.find(holder.pid);
        const CensusProcess* process = at == by_pid_.end() ? nullptr : at->second;
        const std::string who = std::to_string(holder.pid) + " (" + holder.comm + ")";
        std::string detail;
        if (process != nullptr && !process->keeper && process->attempt &&
            (process->ours || known(process->attempt))) {
          if (process->comm == "ebb-keeper" || process->comm == "ebb-init") continue;  // not yet the job
          detail =
              "held by " + who + " of job " + process->attempt->job.str() + "; jobs must never hold a lock";
        } else if (process != nullptr && process->keeper && stale(process->attempt, process->ours)) {
          detail = "held by keeper " + who + " of " + of_attempt(process->attempt);
        } else if (!expected_.locks.contains(lock.name) && process != nullptr && process->keeper &&
                   (process->ours || known(process->attempt))) {
          detail = "held by keeper " + who + ", but leased to no job";
        } else if (!expected_.locks.contains(lock.name) && expected_.daemon != 0 &&
                   holder.pid == expected_.daemon) {
          detail = "held by the daemon, but leased to no job";
        } else {
          continue;
        }
        add(Kind::lock, "lock " + lock.path, std::move(detail),
            "end the process that holds it, or restart the daemon",
            process != nullptr ? process->attempt : std::nullopt);
        break;
      }
    }
  }

  void listeners() {
    for (const CensusListener& listener : census_.listeners) {
      const auto ours = [&](const CensusProcess& p) { return p.attempt == listener.attempt && p.ours; };
      if (!stale(listener.attempt, std::any_of(census_.processes.begin(), census_.processes.end(), ours)))
        continue;
      std::string who = "nobody that may be seen";
      if (!listener.holders.empty()) {
        who = std::to_string(listener.holders[0].pid) + " (" + listener.holders[0].comm + ")";
      }
      add(Kind::listener,
          "listener " + listener.listener.address + " port " + std::to_string(listener.listener.port),
          "held by " + who + " of " + of_attempt(listener.attempt), "end the process that holds it",
          listener.attempt);
    }
  }

  void ipc() {
    for (const IpcClaim& claim : expected_.shared) {
      for (const IpcObject& object : census_.ipc) {
        if (!made_by(object, claim)) continue;
        std::string remove = "rm " + shell_quoted(object.name);
        if (object.name.empty()) {
          const char* option = object.kind == IpcObject::Kind::shm   ? "-m "
                               : object.kind == IpcObject::Kind::sem ? "-s "
                                                                     : "-q ";
          remove = "ipcrm " + std::string(option) + std::to_string(object.id);
        }
        add(Kind::ipc, describe(object),
            "it came while attempt " + claim.attempt.str() + " ran, which shared these, and nobody uses it",
            "if it is nobody else's, remove it: " + remove, claim.attempt);
      }
    }
  }

  void missing() {
    for (const AttemptId attempt : expected_.living) {
      const auto keeps = [&](const CensusProcess& p) { return p.keeper && p.attempt == attempt; };
      if (std::any_of(census_.processes.begin(), census_.processes.end(), keeps)) continue;
      add(Kind::missing, "keeper of attempt " + attempt.str(),
          "it should live, but no keeper process is there",
          "the daemon ends such a job as keeper_lost; if it does not, restart it", attempt);
    }
  }

  bool known(const std::optional<AttemptId>& attempt) const {
    return attempt && known_.contains(attempt->job);
  }

  const Census& census_;
  const Expected& expected_;
  std::map<pid_t, const CensusProcess*> by_pid_;
  std::set<JobId> known_;
  std::vector<Leftover> found_;
};

}  // namespace

const char* kind_text(Leftover::Kind kind) {
  switch (kind) {
    case Kind::process:
      return "process";
    case Kind::keeper:
      return "keeper";
    case Kind::cgroup:
      return "cgroup";
    case Kind::socket:
      return "socket";
    case Kind::scratch:
      return "scratch";
    case Kind::mount:
      return "mount";
    case Kind::lock:
      return "lock";
    case Kind::listener:
      return "listener";
    case Kind::ipc:
      return "ipc";
    case Kind::missing:
      return "missing";
  }
  return "";
}

std::vector<Leftover> compare(const Census& census, const Expected& expected) {
  return Comparison(census, expected).run();
}

std::vector<Leftover> confirm(const std::vector<Leftover>& first, std::vector<Leftover> second) {
  std::erase_if(second, [&](const Leftover& leftover) {
    return std::none_of(first.begin(), first.end(), [&](const Leftover& before) {
      return before.kind == leftover.kind && before.what == leftover.what &&
             before.process == leftover.process;
    });
  });
  return second;
}

}  // namespace ebb::process
