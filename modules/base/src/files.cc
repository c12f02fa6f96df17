#include "ebb/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "ebb/base/ids.h"

namespace ebb {

Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, mode_t mode) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (fd) return fd;
    if (errno != EINTR) return errno_error(errno, "cannot open " + path.string());
  }
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
  auto fd = open_file(path, O_RDONLY);
  if (!fd) return std::move(fd).error();
  std::string data;
  for (;;) {
    const std::size_t had = data.size();
    if (had > limit) {
      return Error{.code = Errc::too_large,
                   .message = path.string() + " is larger than " + std::to_string(limit) + " bytes",
                   .pointer = {},
                   .type = {}};
    }
    constexpr std::size_t kChunk = 16 << 10;
    data.resize(had + kChunk);
    const ssize_t got = ::read(fd->get(), data.data() + had, kChunk);
    if (got < 0) {
      if (errno == EINTR) {
        data.resize(had);
        continue;
      }
      return errno_error(errno, "cannot read " + path.string());
    }
    data.resize(had + static_cast<std::size_t>(got));
    if (got == 0) return data;
  }
}

Result<void> write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "cannot write");
    }
    data.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode,
                          bool durable) {
  const std::filesystem::path temporary = path.string() + "." + random_hex(4) + ".tmp";
  auto fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (!fd) return std::move(fd).error();
  const auto give_up = [&](Error error) {
    ::unlink(temporary.c_str());
    return error;
  };
  // The umask must not narrow what the caller asked for.
  if (::fchmod(fd->get(), mode) != 0)
    return give_up(errno_error(errno, "cannot chmod " + temporary.string()));
  if (auto written = write_all(fd->get(), data); !written) {
    return give_up({written.error().code, temporary.string() + ": " + written.error().message, {}, {}});
  }
  if (durable && ::fsync(fd->get()) != 0) return give_up(errno_error(errno, "cannot fsync " + path.string()));
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return give_up(errno_error(errno, "cannot rename to " + path.string()));
  }
  if (durable) {
    const auto parent = path.parent_path();
    auto folder = open_file(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
    if (!folder) return std::move(folder).error();
    if (::fsync(folder->get()) != 0) return errno_error(errno, "cannot fsync the folder of " + path.string());
  }
  return {};
}

bool same_file(int fd, const std::filesystem::path& path) noexcept {
  struct stat open{}, named{};
  return ::fstat(fd, &open) == 0 && ::lstat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

Result<void> make_directories(const std::filesystem::path& path, mode_t mode) {
  // With a slash at its end a path is its own parent, which would be made with a parent's mode.
  if (!path.has_filename() && path.has_relative_path()) return make_directories(path.parent_path(), mode);
  bool made = ::mkdir(path.c_str(), mode) == 0;
  if (!made && errno == ENOENT && path.has_parent_path() && path.parent_path() != path) {
    if (auto parent = make_directories(path.parent_path(), 0755); !parent) return parent;
    // Once: there are file systems (/proc) that say ENOENT to a folder whose parent is there.
    made = ::mkdir(path.c_str(), mode) == 0;
  }
  if (made) {
    // The umask must not widen or narrow what the caller asked for.
    if (::chmod(path.c_str(), mode) != 0) return errno_error(errno, "cannot chmod " + path.string());
    return {};
  }
  if (errno == EEXIST) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) return {};
    errno = ENOTDIR;
  }
  return errno_error(errno, "cannot make the folder " + path.string());
}

}  // namespace ebb
