#include "ebb/process/socket_owner.h"

#include <dirent.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "ebb/base/text.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

bool holds_socket(pid_t pid, std::uint64_t inode) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), &::closedir);
  if (!dir) return false;
  const std::string wanted = "socket:[" + std::to_string(inode) + "]";
  while (const dirent* entry = ::readdir(dir.get())) {
    std::array<char, 64> target;
    const ssize_t length = ::readlinkat(::dirfd(dir.get()), entry->d_name, target.data(), target.size());
    if (length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)) == wanted)
      return true;
  }
  return false;
}

}  // namespace

std::vector<std::uint64_t> cgroup_ids_below(const std::string& folder) {
  std::vector<std::uint64_t> ids;
  const auto add = [&](const std::string& group) {
    if (const std::uint64_t id = cgroup_id(group); id != 0) ids.push_back(id);
    return true;
  };
  add(folder);
  // What cannot be looked into has no id that anything could be known by.
  (void)for_each_cgroup_below(folder, add);
  return ids;
}

bool owns_listener(const AttemptTree& tree, const Listener& listener) {
  if (listener.cgroup_id && !tree.cgroup_ids.empty()) {
    return std::find(tree.cgroup_ids.begin(), tree.cgroup_ids.end(), *listener.cgroup_id) !=
           tree.cgroup_ids.end();
  }
  return std::any_of(tree.pids.begin(), tree.pids.end(),
                     [&](pid_t pid) { return holds_socket(pid, listener.inode); });
}

SocketHolder find_holder(const Listener& listener) {
  SocketHolder holder;
  holder.user = user_name(listener.uid);
  const auto pids = list_pids();
  if (!pids) return holder;
  for (const pid_t pid : *pids) {
    if (!holds_socket(pid, listener.inode)) continue;
    // One that is ending has no memory any more, and so no program, before it lets go of its descriptors.
    if (!read_proc_link(pid, "exe")) continue;
    const auto stat = read_proc_stat(pid);
    if (!stat) continue;
    holder.pid = pid;
    holder.comm = printable(stat->comm);
    break;
  }
  return holder;
}

std::string describe(const SocketHolder& holder) {
  if (holder.pid == 0) return "a process of " + holder.user;
  return holder.comm + " (pid " + std::to_string(holder.pid) + ") of " + holder.user;
}

std::string user_name(uid_t uid) {
  std::vector<char> buffer(4096);
  passwd entry{};
  passwd* found = nullptr;
  // A user data base may need more room than it says (ERANGE), but not without bound.
  while (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == ERANGE &&
         buffer.size() < 1 << 20) {
    buffer.resize(2 * buffer.size());
  }
  return found != nullptr ? printable(found->pw_name) : std::to_string(uid);
}

}  // namespace ebb::process
