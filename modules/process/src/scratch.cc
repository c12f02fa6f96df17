#include "ebb/process/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "ebb/base/files.h"
#include "ebb/process/socket_owner.h"

namespace ebb::process {
namespace {

Error failure(Errc code, std::string message) {
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

}  // namespace

Result<void> prepare_scratch_base(const std::filesystem::path& base) {
  if (!base.is_absolute()) {
    return failure(Errc::invalid, "the scratch folder '" + base.string() + "' must be an absolute path");
  }
  if (auto parents = make_directories(base.parent_path(), 0755); !parents) return parents;
  const bool made = ::mkdir(base.c_str(), 0711) == 0;
  if (!made && errno != EEXIST) return errno_error(errno, "cannot make the scratch folder " + base.string());
  // Opened without following a link, and judged by what was opened.
  const UniqueFd fd(::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  const std::string way_out = "; remove it, or choose another with scratch in [jobs]";
  if (!fd) {
    const bool link = errno == ELOOP || errno == ENOTDIR;
    if (link)
      return failure(Errc::forbidden,
                     "the scratch folder " + base.string() + " is a link or no folder" + way_out);
    return errno_error(errno, "cannot open the scratch folder " + base.string());
  }
  struct stat found{};
  if (::fstat(fd.get(), &found) != 0)
    return errno_error(errno, "cannot look at the scratch folder " + base.string());
  if (found.st_uid != ::geteuid()) {
    return failure(Errc::forbidden, "the scratch folder " + base.string() + " belongs to " +
                                        user_name(found.st_uid) + ", not to " + user_name(::geteuid()) +
                                        way_out);
  }
  // Jobs of other users must get through to their own folders, whatever the umask was.
  if (made && ::fchmod(fd.get(), 0711) != 0) return errno_error(errno, "cannot chmod " + base.string());
  if (!made && (found.st_mode & 022) != 0) {
    return failure(Errc::forbidden,
                   "the scratch folder " + base.string() + " is writable by others; chmod 711 it");
  }
  return {};
}

Result<std::filesystem::path> make_scratch(const std::filesystem::path& base, AttemptId attempt, uid_t uid,
                                           gid_t gid) {
  const UniqueFd parent(::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!parent) return errno_error(errno, "cannot open the scratch folder " + base.string());
  const std::string name = attempt.str();
  std::filesystem::path path = base / name;
  if (::mkdirat(parent.get(), name.c_str(), 0700) != 0) {
    return errno_error(errno, "cannot make the scratch folder " + path.string(),
                       errno == EEXIST ? Errc::conflict : Errc::io);
  }
  const UniqueFd fd(::openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  // The mode first: afterwards it is another's folder.
  if (!fd || ::fchmod(fd.get(), 0700) != 0 ||
      ((uid != ::geteuid() || gid != ::getegid()) && ::fchown(fd.get(), uid, gid) != 0)) {
    Error error =
        errno_error(errno, "cannot give the scratch folder " + path.string() + " to " + user_name(uid));
    ::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR);
    return error;
  }
  return path;
}

}  // namespace ebb::process
