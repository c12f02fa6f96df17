#include "attempt_processes.h"

#include <unistd.h>

#include <algorithm>

#include "ebb/process/cgroup.h"
#include "ebb/process/orphans.h"
#include "ebb/process/proc.h"
#include "ebb/process/socket_owner.h"

namespace ebb::daemon {

std::string AttemptProcesses::cgroup() const {
  if (!context_.containment.cgroup.available) return {};
  const std::string group = context_.containment.cgroup_base + "/" + id_.str();
  return ::access(group.c_str(), F_OK) == 0 ? group : std::string();
}

void AttemptProcesses::ended(const process::EndRecord& record) {
  leader_ = 0;  // from here on its number may be a stranger's
  left_ = !record.complete;
  gone_ = record.complete;
  survivors_ = record.survivors;
}

bool AttemptProcesses::owns(pid_t pid) const {
  if (std::any_of(survivors_.begin(), survivors_.end(),
                  [&](const process::Survivor& survivor) { return survivor.pid == pid; })) {
    return true;
  }
  const auto group = process::read_proc_cgroup(pid);
  return group && group->find("/" + id_.str() + "/") != std::string::npos;
}

std::vector<process::Survivor> AttemptProcesses::find() const {
  std::vector<process::Survivor> found;
  if (const std::string group = cgroup(); !group.empty()) {
    const auto pids = process::cgroup_processes(group);
    for (std::size_t i = 0; pids && i < pids->size(); ++i) {
      auto stat = process::read_proc_stat((*pids)[i]);
      if (stat && !stat->gone()) found.push_back({.pid = stat->pid, .comm = std::move(stat->comm)});
    }
  } else {
    found = process::Orphans(process::attempt_marks(id_)).find();
  }
  return found;
}

void AttemptProcesses::remember() {
  for (const process::Survivor& process : find()) remembered_.push_back(process.pid);
}

bool AttemptProcesses::owns(const Listener& listener) const {
  // A socket bears the mark of the group in which it was made, also where a stranger has it now.
  if (gone_) return false;
  process::AttemptTree tree;
  if (const std::string group = cgroup(); !group.empty()) tree.cgroup_ids = process::cgroup_ids_below(group);
  for (const process::Survivor& process : find()) tree.pids.push_back(process.pid);
  if (leader_ != 0) tree.pids.push_back(leader_);
  return process::owns_listener(tree, listener);
}

}  // namespace ebb::daemon
