#include <sys/stat.h>

#include <algorithm>

#include "ebb/base/files.h"
#include "ebb/devices/locks.h"
#include "proc_fds.h"
#include "process_facts.h"

namespace ebb::devices {

std::string describe(const LockHolder& holder) {
  std::string text = "pid " + std::to_string(holder.pid);
  if (holder.name.empty() && holder.user.empty()) return text;
  text += " (" + holder.name;
  if (!holder.name.empty() && !holder.user.empty()) text += ", ";
  return text + holder.user + ")";
}

std::optional<LockHolder> LockDirectory::holder(std::string_view name) const {
  struct stat wanted{};
  if (::lstat((path_ / name).c_str(), &wanted) != 0) return std::nullopt;
  // Not by /proc/locks: it names the process that took the lock, which may be a daemon that is dead while its
  // keeper holds the same description. fdinfo tells of each description what it holds.
  const pid_t pid = find_descriptor([&](pid_t owner, const std::string& fd) {
    struct stat info{};
    if (::stat(fd.c_str(), &info) != 0 || info.st_ino != wanted.st_ino || info.st_dev != wanted.st_dev) {
      return false;
    }
    const std::string number = fd.substr(fd.rfind('/') + 1);
    const auto text = read_file("/proc/" + std::to_string(owner) + "/fdinfo/" + number, 64 << 10);
    return text && text->find("FLOCK") != std::string::npos;
  });
  if (pid == 0) return std::nullopt;
  return LockHolder{.pid = pid, .name = process_name(pid), .user = process_user(pid)};
}

std::vector<std::pair<std::string, std::optional<LockHolder>>> LockDirectory::held() const {
  std::vector<std::pair<std::string, std::optional<LockHolder>>> result;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path_, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (is_locked(name)) result.emplace_back(name, holder(name));
  }
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return result;
}

}  // namespace ebb::devices
