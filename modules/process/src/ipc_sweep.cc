#include "ebb/process/ipc_sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

using Kind = IpcObject::Kind;
using FileKey = std::pair<dev_t, ino_t>;

constexpr std::array kPosixFolders = {std::pair{Kind::posix_shm, "/dev/shm"},
                                      std::pair{Kind::posix_mqueue, "/dev/mqueue"}};
// An object that the attempt makes at once seems older than the attempt: its time is that of the kernel's
// last tick, and with System V in whole seconds.
constexpr auto kCoarse = std::chrono::seconds(2);
constexpr std::size_t kMostObjects = 100'000;
constexpr std::size_t kLargestMaps = 64 << 20;

// The words of each line by the names in the file's first line, since their order differs between the three.
using Row = std::map<std::string_view, std::string_view>;

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> found;
  for (const std::string_view word : split(line, ' ')) {
    if (!word.empty()) found.push_back(word);
  }
  return found;
}

template <typename T>
bool take(const Row& row, std::string_view column, T& value) {
  const auto at = row.find(column);
  if (at == row.end()) return false;
  const std::string_view text = at->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool read_row(Kind kind, const Row& row, IpcObject& object) {
  std::int64_t changed = 0;
  const char* id = kind == Kind::shm ? "shmid" : kind == Kind::sem ? "semid" : "msqid";
  if (!take(row, id, object.id) || !take(row, "uid", object.uid) || !take(row, "cuid", object.creator_uid) ||
      !take(row, "ctime", changed) || changed < 0 || changed > std::int64_t{1} << 40) {
    return false;
  }
  object.kind = kind;
  object.changed = WallTime(std::chrono::seconds(changed));
  if (kind == Kind::shm) {
    return take(row, "cpid", object.creator) && take(row, "nattch", object.users) &&
           take(row, "size", object.bytes);
  }
  return kind == Kind::sem || take(row, "cbytes", object.bytes);
}

WallTime time_of(const struct statx_timestamp& time) {
  return WallTime(std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_nsec / 1000));
}

// The file of one line of /proc/PID/maps: "start-end perms offset MAJOR:MINOR inode path"; nothing for
// memory.
std::optional<FileKey> mapped_file(std::string_view line) {
  const auto fields = words(line);
  if (fields.size() < 6) return std::nullopt;
  const std::size_t colon = fields[3].find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view text, int base) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, base);
    return value;
  };
  const auto major_number = static_cast<unsigned>(number(fields[3].substr(0, colon), 16));
  const auto minor_number = static_cast<unsigned>(number(fields[3].substr(colon + 1), 16));
  return FileKey{makedev(major_number, minor_number), number(fields[4], 10)};
}

// Which of the files some process has open or mapped, as far as we may look.
std::set<FileKey> files_in_use(const std::set<FileKey>& wanted) {
  std::set<FileKey> used;
  const auto pids = list_pids();
  if (!pids || wanted.empty()) return used;
  const auto add = [&](const FileKey& file) {
    if (wanted.contains(file)) used.insert(file);
  };
  for (const pid_t pid : *pids) {
    const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), &::closedir);
    while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
      struct stat found{};
      // The link leads to the file itself, whatever it is called by now.
      if (::fstatat(::dirfd(dir.get()), entry->d_name, &found, 0) == 0) add({found.st_dev, found.st_ino});
    }
    // Not by the links in map_files, which only a privileged process may follow.
    const auto maps = read_proc_file(pid, "maps", kLargestMaps);
    for (const std::string_view line : maps ? split(*maps, '\n') : std::vector<std::string_view>()) {
      if (const auto file = mapped_file(line)) add(*file);
    }
  }
  return used;
}

struct PosixFile {
  IpcObject object;
  FileKey key;
};

void list_posix(Kind kind, const char* folder, std::vector<PosixFile>& found) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder), &::closedir);
  while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    struct statx file{};
    if (found.size() >= kMostObjects) return;
    if (::statx(::dirfd(dir.get()), entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
                &file) != 0 ||
        !S_ISREG(file.stx_mode)) {
      continue;
    }
    PosixFile posix;
    posix.object.kind = kind;
    posix.object.name = std::string(folder) + "/" + entry->d_name;
    posix.object.uid = posix.object.creator_uid = file.stx_uid;
    posix.object.changed = time_of((file.stx_mask & STATX_BTIME) != 0 ? file.stx_btime : file.stx_ctime);
    posix.object.bytes = file.stx_size;
    posix.key = {makedev(file.stx_dev_major, file.stx_dev_minor), file.stx_ino};
    found.push_back(std::move(posix));
  }
}

bool same(const IpcObject& a, const IpcObject& b) {
  return a.kind == b.kind && a.id == b.id && a.name == b.name && a.creator_uid == b.creator_uid;
}

int remove(const IpcObject& object) {
  switch (object.kind) {
    case Kind::shm:
      return ::shmctl(object.id, IPC_RMID, nullptr);
    case Kind::sem:
      return ::semctl(object.id, 0, IPC_RMID);
    case Kind::msg:
      return ::msgctl(object.id, IPC_RMID, nullptr);
    case Kind::posix_shm:
    case Kind::posix_mqueue:
      return ::unlink(object.name.c_str());
  }
  return 0;
}

// Root needs CAP_SYS_ADMIN for another user's object, which a container withholds; the owner needs nothing.
// In a child: a thread that took on another user would make the whole process one that may not be dumped.
int remove_as_owner(const IpcObject& object) {
  const pid_t child = ::fork();
  if (child < 0) return -1;
  if (child == 0) {
    const bool gone = ::setresuid(object.uid, object.uid, object.uid) == 0 && remove(object) == 0;
    ::_exit(gone ? 0 : errno);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
  return errno == 0 ? 0 : -1;
}

}  // namespace

std::string describe(const IpcObject& object) {
  switch (object.kind) {
    case Kind::shm:
      return "shared memory id " + std::to_string(object.id);
    case Kind::sem:
      return "semaphore id " + std::to_string(object.id);
    case Kind::msg:
      return "message queue id " + std::to_string(object.id);
    case Kind::posix_shm:
    case Kind::posix_mqueue:
      return printable(object.name);
  }
  return {};
}

std::vector<IpcObject> parse_sysvipc(Kind kind, std::string_view text) {
  std::vector<IpcObject> found;
  std::vector<std::string_view> columns;
  for (const std::string_view line : split(text, '\n')) {
    const auto fields = words(line);
    if (columns.empty()) {
      columns = fields;
      continue;
    }
    Row row;
    for (std::size_t i = 0; i < std::min(columns.size(), fields.size()); ++i) row[columns[i]] = fields[i];
    IpcObject object;
    if (found.size() < kMostObjects && read_row(kind, row, object)) found.push_back(std::move(object));
  }
  return found;
}

Result<std::vector<IpcObject>> list_ipc() {
  std::vector<IpcObject> found;
  for (const auto& [kind, file] :
       {std::pair{Kind::shm, "/proc/sysvipc/shm"}, std::pair{Kind::sem, "/proc/sysvipc/sem"},
        std::pair{Kind::msg, "/proc/sysvipc/msg"}}) {
    // A kernel without System V IPC has no such file.
    auto text = read_file(file);
    if (!text) continue;
    for (IpcObject& object : parse_sysvipc(kind, *text)) found.push_back(std::move(object));
  }
  std::vector<PosixFile> files;
  for (const auto& [kind, folder] : kPosixFolders) list_posix(kind, folder, files);
  std::set<FileKey> keys;
  for (const PosixFile& file : files) keys.insert(file.key);
  const auto used = files_in_use(keys);
  for (PosixFile& file : files) {
    file.object.users = used.contains(file.key) ? 1 : 0;
    found.push_back(std::move(file.object));
  }
  return found;
}

bool made_by(const IpcObject& object, const IpcClaim& claim) {
  if (object.creator_uid != claim.uid || object.uid != claim.uid) return false;
  if (std::any_of(claim.before.begin(), claim.before.end(),
                  [&](const IpcObject& b) { return same(b, object); })) {
    return false;
  }
  if (object.changed < claim.started - kCoarse || object.changed > claim.ended) return false;
  if (object.users > 0) return false;
  if (object.creator != 0) {
    return std::find(claim.pids.begin(), claim.pids.end(), object.creator) != claim.pids.end() || claim.alone;
  }
  return claim.alone;
}

bool uid_has_processes(uid_t uid) {
  const auto pids = list_pids();
  if (!pids) return true;
  return std::any_of(pids->begin(), pids->end(), [&](pid_t pid) {
    // The folder's owner is no use here: it is root's for a process that may not be dumped.
    const auto status = read_proc_status(pid);
    if (!status || (status->uid != uid && status->effective_uid != uid)) return false;
    const auto stat = read_proc_stat(pid);
    return stat && !stat->gone();
  });
}

Result<IpcSweep> sweep_ipc(const IpcClaim& claim) {
  auto objects = list_ipc();
  if (!objects) return std::move(objects).error();
  std::erase_if(*objects, [&](const IpcObject& object) { return !made_by(object, claim); });
  IpcSweep sweep;
  if (objects->empty()) return sweep;
  // The list took a while; what changed meanwhile is somebody's.
  auto again = list_ipc();
  if (!again) return std::move(again).error();
  for (IpcObject& object : *objects) {
    const auto now =
        std::find_if(again->begin(), again->end(), [&](const IpcObject& o) { return same(o, object); });
    if (now == again->end() || !made_by(*now, claim)) continue;
    int removed = remove(object);
    if (removed != 0 && errno == EPERM && ::geteuid() == 0) removed = remove_as_owner(object);
    if (removed == 0 || errno == ENOENT || errno == EINVAL || errno == EIDRM) {
      sweep.removed.push_back(std::move(object));
    } else {
      sweep.failed.push_back(describe(object) + ": " + std::strerror(errno));
    }
  }
  return sweep;
}

IpcClaim claim_before_start(AttemptId attempt, uid_t uid) {
  IpcClaim claim;
  claim.attempt = attempt;
  claim.uid = uid;
  auto before = list_ipc();
  if (!before) return claim;
  claim.before = std::move(*before);
  claim.alone = !uid_has_processes(uid);
  return claim;
}

Result<IpcSweep> sweep_after_end(IpcClaim claim) {
  claim.alone = claim.alone && !uid_has_processes(claim.uid);
  return sweep_ipc(claim);
}

}  // namespace ebb::process
