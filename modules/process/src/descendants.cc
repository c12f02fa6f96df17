#include "descendants.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_map>

#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

int send(int pidfd, int signal) noexcept {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

bool descends_from(pid_t pid, pid_t ancestor) {
  for (int depth = 0; depth < 4096 && pid > 1; ++depth) {
    if (pid == ancestor) return true;
    const auto stat = read_proc_stat(pid);
    if (!stat) return false;
    pid = stat->ppid;
  }
  return false;
}

}  // namespace

std::vector<Survivor> descendants() {
  const auto pids = list_pids();
  if (!pids) return {};
  struct Entry {
    pid_t parent;
    std::string comm;
    bool gone;
  };
  std::unordered_map<pid_t, Entry> all;
  for (const pid_t pid : *pids) {
    if (auto stat = read_proc_stat(pid))
      all.emplace(pid, Entry{stat->ppid, std::move(stat->comm), stat->gone()});
  }
  const pid_t self = ::getpid();
  std::vector<Survivor> found;
  for (const auto& [pid, entry] : all) {
    if (entry.gone || pid == self) continue;
    pid_t parent = entry.parent;
    for (std::size_t depth = 0; depth < all.size() && parent > 1 && parent != self; ++depth) {
      const auto above = all.find(parent);
      parent = above == all.end() ? 0 : above->second.parent;
    }
    if (parent == self) found.push_back({.pid = pid, .comm = entry.comm});
  }
  std::sort(found.begin(), found.end(), [](const Survivor& a, const Survivor& b) { return a.pid < b.pid; });
  return found;
}

void signal_descendants(const std::vector<Survivor>& processes, std::initializer_list<int> signals) {
  const pid_t self = ::getpid();
  for (const Survivor& process : processes) {
    const auto pidfd = open_pidfd(process.pid);
    // Looked at again with the pidfd in hand: it is this process that descends from us, and not a successor.
    if (!pidfd || !descends_from(process.pid, self) || !pidfd_alive(pidfd->get())) continue;
    for (const int signal : signals) send(pidfd->get(), signal);
  }
}

}  // namespace ebb::process
