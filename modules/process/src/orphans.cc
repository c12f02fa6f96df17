#include "ebb/process/orphans.h"

#include <algorithm>
#include <csignal>
#include <set>
#include <vector>

#include "descendants.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

constexpr int kMostSweeps = 64;

bool marked(pid_t pid, std::span<const std::string> marks) {
  const auto text = read_proc_file(pid, "environ", 16 << 20);
  if (!text) return false;
  const auto words = parse_nul_words(*text);
  return std::all_of(marks.begin(), marks.end(), [&](const std::string& mark) {
    return std::find(words.begin(), words.end(), mark) != words.end();
  });
}

// A process may have overwritten its environment (setproctitle does), so its session counts as well: keepers
// make a session for each leader, and no two attempts share one.
std::vector<Survivor> matching(std::span<const std::string> marks) {
  const std::vector<Survivor> all = descendants();
  std::set<pid_t> sessions;
  std::vector<Survivor> found;
  const auto session_of = [](pid_t pid) {
    const auto stat = read_proc_stat(pid);
    return stat ? stat->session : 0;
  };
  for (const Survivor& process : all) {
    if (marked(process.pid, marks)) sessions.insert(session_of(process.pid));
  }
  sessions.erase(0);
  for (const Survivor& process : all) {
    if (sessions.contains(session_of(process.pid))) found.push_back(process);
  }
  return found;
}

}  // namespace

std::size_t kill_orphans(std::span<const std::string> marks) {
  if (marks.empty()) return 0;
  std::size_t known = 0;
  std::vector<Survivor> found = matching(marks);
  for (int sweep = 0; sweep < kMostSweeps && found.size() > known; ++sweep) {
    known = found.size();
    signal_descendants(found, SIGSTOP);  // so that none forks past the kill
    found = matching(marks);
  }
  signal_descendants(found, SIGKILL);
  return found.size();
}

}  // namespace ebb::process
