#include "ebb/devices/locks.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "ebb/base/files.h"
#include "errors.h"

namespace ebb::devices {
namespace {

constexpr std::size_t kMaxName = 128;
constexpr int kAttempts = 100;  // somebody removes lock files under our hands

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name.front() == '.') return false;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '.' && c != '_') return false;
  }
  return true;
}

Error bad_name(std::string_view name) {
  return fail(Errc::invalid, "'" + std::string(name.substr(0, 40)) + "' cannot be the name of a lock");
}

// A pipe, a device or a link under the name of a lock is an attempt to mislead us.
Result<UniqueFd> checked(UniqueFd fd, const std::filesystem::path& path) {
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return errno_error(errno, "cannot look at " + path.string());
  if (!S_ISREG(info.st_mode)) {
    return fail(Errc::conflict, path.string() + " is not a plain file; remove it, it cannot be locked");
  }
  return fd;
}

bool flock_exclusive(int fd, bool wait) {
  int status = 0;
  do {
    status = ::flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
  } while (status != 0 && errno == EINTR);
  return status == 0;
}

Error vanishing(const std::filesystem::path& path) {
  return fail(Errc::conflict, path.string() + " appears and disappears; somebody removes lock files");
}

}  // namespace

Result<UniqueFd> LockFile::dup() const {
  UniqueFd copy(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return errno_error(errno, "cannot copy the descriptor of " + path_.string());
  return copy;
}

Result<LockDirectory> LockDirectory::open_machine_wide() {
  const char* elsewhere = std::getenv("EBB_LOCK_DIR");
  return open_shared(elsewhere != nullptr && *elsewhere != 0 ? elsewhere : kDefault);
}

Result<LockDirectory> LockDirectory::open_shared(const std::filesystem::path& path) {
  const auto way_out = [&](const Error& error) {
    return fail(error.code, error.message +
                                "; the lock directory is shared by all users: have root run "
                                "'install -d -m 1777 " +
                                path.string() +
                                "', or set EBB_LOCK_DIR to a folder that all daemons of this "
                                "machine use");
  };
  if (auto made = make_directories(path, 01777); !made) return way_out(made.error());
  auto folder = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder) return way_out(folder.error());
  struct stat info{};
  if (::fstat(folder->get(), &info) != 0)
    return way_out(errno_error(errno, "cannot look at " + path.string()));
  // The owner of a sticky folder may unlink what is in it, so root takes one that a user was first to make.
  if (::geteuid() == 0 && info.st_uid != 0 && ::fchown(folder->get(), 0, 0) != 0) {
    return way_out(errno_error(errno, "cannot take over " + path.string()));
  }
  if ((info.st_mode & 07777U) != 01777U && (::geteuid() == 0 || info.st_uid == ::geteuid()) &&
      ::fchmod(folder->get(), 01777) != 0) {
    return way_out(errno_error(errno, "cannot set the mode of " + path.string()));
  }
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return way_out(errno_error(errno, "cannot make lock files in " + path.string()));
  }
  return LockDirectory(path, 0666);
}

Result<LockDirectory> LockDirectory::open_private(const std::filesystem::path& path) {
  if (auto made = make_directories(path, 0700); !made) return std::move(made).error();
  return LockDirectory(path, 0600);
}

Result<UniqueFd> LockDirectory::open_lock(std::string_view name, mode_t mode) const {
  const std::filesystem::path path = path_ / name;
  constexpr int kFlags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    // Without O_CREAT first: in a sticky folder the kernel (fs.protected_regular) refuses O_CREAT on a file
    // that is another user's, though this user may open it.
    UniqueFd fd(::open(path.c_str(), kFlags | O_CLOEXEC));
    if (fd) return checked(std::move(fd), path);
    if (errno != ENOENT) return errno_error(errno, "cannot open the lock " + path.string());
    fd.reset(::open(path.c_str(), kFlags | O_CLOEXEC | O_CREAT | O_EXCL, 0600));
    if (fd) {
      // Not by open's mode, which the umask narrows.
      if (::fchmod(fd.get(), mode) != 0) {
        return errno_error(errno, "cannot set the mode of " + path.string());
      }
      return fd;
    }
    if (errno != EEXIST) return errno_error(errno, "cannot make the lock " + path.string());
  }
  return vanishing(path);
}

Result<LockFile> LockDirectory::take(std::string_view name, mode_t mode, bool wait) const {
  if (!is_name(name)) return bad_name(name);
  const std::filesystem::path path = path_ / name;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto fd = open_lock(name, mode);
    if (!fd) return std::move(fd).error();
    struct stat info{};
    if (mode == 0600 &&
        (::fstat(fd->get(), &info) != 0 || info.st_uid != ::geteuid() || (info.st_mode & 0077U) != 0)) {
      return fail(Errc::forbidden,
                  path.string() + " belongs to somebody else, or others may open it; remove it");
    }
    if (!flock_exclusive(fd->get(), wait)) {
      if (errno != EWOULDBLOCK) return errno_error(errno, "cannot lock " + path.string());
      const auto who = holder(name);
      return fail(Errc::conflict, path.string() + " is held by " +
                                      (who ? describe(*who) : std::string("a process that cannot be seen")));
    }
    // Somebody may have removed the file between our open and our lock; then others lock another one.
    if (same_file(fd->get(), path)) return LockFile(std::move(*fd), path);
  }
  return vanishing(path);
}

Result<LockFile> LockDirectory::lock(std::string_view name) const { return take(name, mode_, false); }
Result<LockFile> LockDirectory::lock_own(std::string_view name) const { return take(name, 0600, false); }
Result<LockFile> LockDirectory::wait_own(std::string_view name) const { return take(name, 0600, true); }

Result<LockFile> LockDirectory::adopt(std::string_view name, UniqueFd fd) const {
  if (!is_name(name)) return bad_name(name);
  const std::filesystem::path path = path_ / name;
  if (!fd || !same_file(fd.get(), path)) {
    return fail(Errc::conflict, "what the keeper handed over is not " + path.string());
  }
  // On a description that has the lock this changes nothing; on another it fails while that one has it.
  if (!flock_exclusive(fd.get(), false)) {
    return fail(Errc::conflict, "the keeper no longer holds " + path.string());
  }
  return LockFile(std::move(fd), path);
}

bool LockDirectory::is_locked(std::string_view name) const {
  if (!is_name(name)) return false;
  const UniqueFd fd(::open((path_ / name).c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  // Shared: two that only look do not see each other.
  return fd && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

std::string gpu_lock_name(const Gpu& gpu) {
  std::string name = "gpu-" + gpu.uuid;
  for (char& c : name) {
    if (c == '/') c = '_';  // old MIG UUIDs: "MIG-GPU-…/1/0"
  }
  return name;
}

std::string port_lock_name(std::uint16_t port) { return "port-" + std::to_string(port); }

}  // namespace ebb::devices
