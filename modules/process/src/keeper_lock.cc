#include "ebb/process/keeper_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>

#include "codec.h"
#include "ebb/base/files.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

// By a descriptor whose description has the lock: its fdinfo says so, in each process that shares it.
bool holds_lock(pid_t pid, const struct stat& folder) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), &::closedir);
  while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    struct stat found{};
    if (::fstatat(::dirfd(dir.get()), entry->d_name, &found, 0) != 0 || found.st_dev != folder.st_dev ||
        found.st_ino != folder.st_ino) {
      continue;
    }
    const auto info = read_proc_file(pid, (std::string("fdinfo/") + entry->d_name).c_str());
    if (info && info->find("FLOCK") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

Result<UniqueFd> lock_attempt_dir(const std::string& attempt_dir) {
  auto folder = open_file(attempt_dir, O_RDONLY | O_DIRECTORY);
  if (!folder) return std::move(folder).error();
  if (::flock(folder->get(), LOCK_EX | LOCK_NB) == 0) return folder;
  if (errno == EWOULDBLOCK)
    return wire_error(Errc::conflict, "a keeper lives in " + attempt_dir + " already");
  return errno_error(errno, "cannot lock " + attempt_dir);
}

bool keeper_lives(const std::string& attempt_dir) {
  const auto lock = lock_attempt_dir(attempt_dir);
  return !lock && lock.error().code == Errc::conflict;
}

std::size_t kill_keeper(const std::string& attempt_dir) {
  struct stat folder{};
  if (::stat(attempt_dir.c_str(), &folder) != 0) return 0;
  const auto pids = list_pids();
  std::size_t killed = 0;
  for (std::size_t i = 0; pids && i < pids->size(); ++i) {
    const pid_t pid = (*pids)[i];
    if (pid == ::getpid()) continue;
    // Opened first: if it still lives when the lock was seen, both are of one process.
    const auto pidfd = open_pidfd(pid);
    if (!pidfd || !holds_lock(pid, folder) || !pidfd_alive(pidfd->get())) continue;
    ::syscall(SYS_pidfd_send_signal, pidfd->get(), SIGKILL, nullptr, 0);
    ++killed;
  }
  return killed;
}

}  // namespace ebb::process
