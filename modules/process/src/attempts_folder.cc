#include "ebb/process/attempts_folder.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "ebb/base/files.h"
#include "socket_path.h"

namespace ebb::process {
namespace {

namespace fs = std::filesystem;

fs::path link_in(const fs::path& state_dir) { return state_dir / "attempts"; }

bool of_memory(const fs::path& folder) {
  struct statfs found{};
  if (::statfs(folder.c_str(), &found) != 0) return false;
  const auto type = static_cast<unsigned long>(found.f_type);
  return type == TMPFS_MAGIC || type == RAMFS_MAGIC;
}

// Nobody else may rename or remove what we make there.
bool safe_parent(const fs::path& folder) {
  struct stat found{};
  return ::lstat(folder.c_str(), &found) == 0 && S_ISDIR(found.st_mode) &&
         (found.st_uid == 0 || found.st_uid == ::geteuid()) &&
         ((found.st_mode & 022) == 0 || (found.st_mode & S_ISVTX) != 0);
}

// The beginning of its name tells whose it is: a copy of a state directory must not share the original's.
std::string name_of(const fs::path& state_dir) {
  struct stat found{};
  if (::stat(state_dir.c_str(), &found) != 0) return {};
  char text[64];
  std::snprintf(text, sizeof text, "ebb-%llx-%llx-", static_cast<unsigned long long>(found.st_dev),
                static_cast<unsigned long long>(found.st_ino));
  return text;
}

bool is_ours(const fs::path& folder) {
  struct stat found{};
  return ::lstat(folder.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == ::geteuid() &&
         (found.st_mode & 077) == 0;
}

// Where the link leads, if that is ours still.
std::optional<fs::path> target_of(const fs::path& state_dir) {
  std::error_code error;
  fs::path target = fs::read_symlink(link_in(state_dir), error);
  const std::string name = name_of(state_dir);
  if (error || name.empty() || !target.is_absolute() || !target.filename().string().starts_with(name))
    return std::nullopt;
  if (!safe_parent(target.parent_path()) || !is_ours(target)) return std::nullopt;
  return target;
}

// With a name that cannot be foreseen: in a folder that anybody may write to, others could have been first.
std::optional<fs::path> make_in_memory(const AttemptsFolder& wanted) {
  const std::string name = name_of(wanted.state_dir);
  if (name.empty() || of_memory(wanted.state_dir)) return std::nullopt;
  for (const fs::path& place : wanted.places) {
    if (!of_memory(place) || !safe_parent(place)) continue;
    std::string pattern = (place / (name + "XXXXXX")).string();
    if (::mkdtemp(pattern.data()) != nullptr) return fs::path(pattern);
  }
  return std::nullopt;
}

Result<void> bury(const fs::path& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (auto made = make_directories(folder / name, 0700); !made) return made;
    if (auto socket = open_file(folder / name / kKeeperSocket, O_WRONLY | O_CREAT, 0600); !socket)
      return std::move(socket).error();
  }
  return {};
}

Error cannot_make(const fs::path& link) { return errno_error(errno, "cannot make " + link.string()); }

// All of it is there before the old one's name is.
Result<fs::path> make(const AttemptsFolder& wanted, const std::vector<std::string>& dead) {
  const fs::path link = link_in(wanted.state_dir);
  fs::path fresh = link;
  fresh += ".new";
  std::error_code ignored;
  fs::remove_all(fresh, ignored);  // an earlier daemon died halfway
  fs::path folder = link;
  if (auto memory = make_in_memory(wanted)) {
    folder = std::move(*memory);
    if (auto buried = bury(folder, dead); !buried) return std::move(buried).error();
    if (::symlink(folder.c_str(), fresh.c_str()) != 0) return cannot_make(link);
  } else {
    if (::mkdir(fresh.c_str(), 0700) != 0) return cannot_make(link);
    if (auto buried = bury(fresh, dead); !buried) return std::move(buried).error();
  }
  // The old one led nowhere, or was empty.
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove(fresh, ignored);
    return folder;
  }
  fs::remove(link, ignored);
  if (::rename(fresh.c_str(), link.c_str()) != 0) return cannot_make(link);
  return folder;
}

}  // namespace

std::vector<fs::path> memory_places() {
  if (::geteuid() == 0) return {"/run", "/dev/shm"};
  return {};
}

Result<fs::path> prepare_attempts(const AttemptsFolder& wanted) {
  const fs::path link = link_in(wanted.state_dir);
  struct stat found{};
  if (::lstat(link.c_str(), &found) != 0) {
    if (errno != ENOENT) return errno_error(errno, "cannot look at " + link.string());
    return make(wanted, {});
  }
  if (S_ISLNK(found.st_mode)) {
    if (auto target = target_of(wanted.state_dir)) return std::move(*target);
    return make(wanted, wanted.begun ? wanted.begun() : std::vector<std::string>());
  }
  std::error_code error;
  if (!S_ISDIR(found.st_mode) || !fs::is_empty(link, error) || wanted.places.empty()) return link;
  return make(wanted, {});
}

void remove_attempt_folder(const fs::path& folder) {
  // What most keepers leave, by name; to list it costs more.
  for (const char* name : {"end", kKeeperSocket}) ::unlink((folder / name).c_str());
  if (::rmdir(folder.c_str()) == 0) return;
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

void give_back_attempts(const fs::path& state_dir) {
  const fs::path link = link_in(state_dir);
  if (const auto target = target_of(state_dir)) {
    if (::rmdir(target->c_str()) == 0) ::unlink(link.c_str());
  } else {
    ::rmdir(link.c_str());
  }
}

}  // namespace ebb::process
