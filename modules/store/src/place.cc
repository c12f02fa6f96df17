#include "place.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "ebb/base/files.h"
#include "ebb/base/text.h"

namespace ebb::store {
namespace {

struct Remote {
  unsigned long magic;
  std::string_view name;
};
// From linux/magic.h and the file systems' own sources; statfs(2) has the list.
constexpr std::array kRemotes = {
    Remote{0x6969, "NFS"},        Remote{0x517B, "SMB"},          Remote{0xFF534D42, "CIFS"},
    Remote{0xFE534D42, "SMB"},    Remote{0x01021997, "9p"},       Remote{0x73757245, "Coda"},
    Remote{0x5346414F, "AFS"},    Remote{0x6B414653, "AFS"},      Remote{0x00C36400, "Ceph"},
    Remote{0x0BD00BD0, "Lustre"}, Remote{0x47504653, "GPFS"},     Remote{0x19830326, "BeeGFS"},
    Remote{0xAAD7AAEA, "PanFS"},  Remote{0x20030528, "OrangeFS"}, Remote{0x7461636F, "OCFS2"},
    Remote{0x01161970, "GFS2"},
};
constexpr unsigned long kFuse = 0x65735546;
constexpr std::array<std::string_view, 14> kRemoteFuse = {
    "sshfs",  "glusterfs", "s3fs",      "rclone",   "davfs",    "ceph",      "gcsfuse",
    "goofys", "juicefs",   "curlftpfs", "smbnetfs", "mount-s3", "blobfuse2", "weed",
};

Error refused(Errc code, std::string message) {
  return {.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

// The type of the mount that the device belongs to, as mountinfo names it; empty where it does not tell.
std::string mount_kind(dev_t device) {
  const auto table = read_file("/proc/self/mountinfo");
  if (!table) return {};
  const std::string wanted = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  for (const std::string_view line : split(*table, '\n')) {
    const auto fields = split(line, ' ');
    const auto dash = std::ranges::find(fields, "-");
    if (fields.size() < 3 || fields[2] != wanted || fields.end() - dash < 2) continue;
    return std::string(*(dash + 1));
  }
  return {};
}

std::string user_name(uid_t uid) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return entry.pw_name;
  }
  return "uid " + std::to_string(uid);
}

}  // namespace

std::optional<std::string> network_file_system(long magic, std::string_view kind) {
  const auto value = static_cast<unsigned long>(magic) & 0xffffffffUL;  // f_type is signed on some machines
  if (value == kFuse) {
    if (kind.starts_with("fuse.")) kind.remove_prefix(5);
    const bool remote = std::ranges::any_of(kRemoteFuse, [&](auto name) { return kind == name; });
    return remote ? std::optional(std::string(kind)) : std::nullopt;
  }
  const auto found = std::ranges::find(kRemotes, value, &Remote::magic);
  return found != kRemotes.end() ? std::optional(std::string(found->name)) : std::nullopt;
}

Result<void> check_folder(const std::filesystem::path& folder) {
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) {
    return errno_error(errno, "cannot use the state directory " + folder.string());
  }
  if (!S_ISDIR(status.st_mode)) {
    return refused(Errc::io, "the state directory " + folder.string() + " is no directory");
  }
  struct statfs system{};
  if (::statfs(folder.c_str(), &system) != 0) {
    return errno_error(errno, "cannot use the state directory " + folder.string());
  }
  const auto magic = static_cast<long>(system.f_type);
  const std::string kind =
      (static_cast<unsigned long>(magic) & 0xffffffffUL) == kFuse ? mount_kind(status.st_dev) : "";
  if (const auto network = network_file_system(magic, kind)) {
    return refused(
        Errc::invalid,
        "the state directory " + folder.string() + " lies on a network file system (" + *network +
            "), where the database's log does not work; choose a folder on a local disk with --state DIR"
            " or dir in [state]");
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    return errno_error(errno, "the state directory " + folder.string() +
                                  " is not writable; choose another with --state DIR, or correct its owner");
  }
  return {};
}

Result<UniqueFd> lock_folder(const std::filesystem::path& folder, std::string_view note) {
  const auto path = folder / "lock";
  constexpr std::size_t kLongestLock = 4096;
  auto fd = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!fd) return std::move(fd).error();
  while (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return errno_error(errno, "cannot lock " + path.string());
    const auto holder = read_file(path, kLongestLock);
    std::string who = holder ? printable(*holder) : std::string();
    while (who.ends_with('\n')) who.pop_back();
    std::ranges::replace(who, '\n', ' ');
    return refused(Errc::conflict, "a daemon already uses the state directory " + folder.string() +
                                       (who.empty() ? "" : " (" + who + ")") +
                                       "; stop it first, or choose another folder with --state DIR");
  }
  std::string text = "pid " + std::to_string(::getpid()) + " user " + user_name(::geteuid()) + "\n";
  if (!note.empty()) text += std::string(note) + "\n";
  // The text only informs; the lock is what counts. So a full disk does not stop the daemon here.
  if (::ftruncate(fd->get(), 0) == 0) {
    if (auto written = write_all(fd->get(), text); !written && ::ftruncate(fd->get(), 0) != 0) {
      return errno_error(errno, "cannot write " + path.string());
    }
  }
  return fd;
}

}  // namespace ebb::store
