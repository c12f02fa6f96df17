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

}  // namespace

std::vector<Descendant> descendants() {
  const auto pids = list_pids();
  if (!pids) return {};
  struct Entry {
    pid_t parent;
    std::string comm;
    std::uint64_t start_time;
    bool gone;
  };
  std::unordered_map<pid_t, Entry> all;
  for (const pid_t pid : *pids) {
    if (auto stat = read_proc_stat(pid))
      all.emplace(pid, Entry{stat->ppid, std::move(stat->comm), stat->start_time, stat->gone()});
  }
  const pid_t self = ::getpid();
  std::vector<Descendant> found;
  for (const auto& [pid, entry] : all) {
    if (entry.gone || pid == self) continue;
    pid_t parent = entry.parent;
    for (std::size_t depth = 0; depth < all.size() && parent > 1 && parent != self; ++depth) {
      const auto above = all.find(parent);
      parent = above == all.end() ? 0 : above->second.parent;
    }
    if (parent == self) found.push_back({{.pid = pid, .comm = entry.comm}, entry.start_time});
  }
  std::sort(found.begin(), found.end(),
            [](const Descendant& a, const Descendant& b) { return a.pid < b.pid; });
  return found;
}

void signal_descendants(const std::vector<Descendant>& processes, std::initializer_list<int> signals) {
  for (const Descendant& process : processes) {
    const auto pidfd = open_pidfd(process.pid);
    if (!pidfd) continue;
    // Looked at again with the pidfd in hand: it is the process that was found, and not a successor.
    const auto stat = read_proc_stat(process.pid);
    if (!stat || stat->start_time != process.start_time || !pidfd_alive(pidfd->get())) continue;
    for (const int signal : signals) send(pidfd->get(), signal);
  }
}

}  // namespace ebb::process
