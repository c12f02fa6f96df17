#include "io/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "ebb/base/files.h"
#include "ebb/base/ids.h"
#include "io/input.h"

namespace ebb::flow {
namespace {

namespace fs = std::filesystem;

// The file itself, where the path is a link: what is renamed would else take the link's place.
fs::path target_of(const std::string& path, const char* maker, mode_t& mode) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      throw IoError("ebb: " + std::string(maker) + " cannot replace " + path +
                    ": it is no file; use sink(f) to write there yourself");
    }
    mode = info.st_mode & 07777;
    std::error_code failed;
    const fs::path target = fs::canonical(path, failed);
    if (failed) throw io_error(failed.value(), "cannot open " + path);
    return target;
  }
  if (errno != ENOENT) throw io_error(errno, "cannot open " + path);
  if (::lstat(path.c_str(), &info) == 0)
    throw io_error(ENOENT, "cannot open " + path + ", a link to nowhere");
  return path;
}

fs::path temporary_of(const fs::path& target) {
  constexpr std::size_t kMostOfName = 200;  // of 255, with what is put around it
  return target.parent_path() /
         ("." + target.filename().string().substr(0, kMostOfName) + "." + random_hex(4) + ".tmp");
}

}  // namespace

OutputFile::OutputFile(const std::string& path, const char* maker, Context& context) : context_(&context) {
  mode_t old_mode = 0;
  const fs::path target = target_of(path, maker, old_mode);
  if (!target.has_filename()) throw io_error(EISDIR, "cannot open " + path);
  const fs::path temporary = temporary_of(target);
  auto fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (!fd) throw IoError("ebb: cannot write " + path + ": " + fd.error().message);
  path_ = target.string();
  temporary_ = temporary.string();
  fd_ = std::move(*fd);
  // Whoever could read the old file can read the new one.
  if (old_mode != 0) (void)::fchmod(fd_.get(), old_mode);
}

OutputFile::~OutputFile() { abort(); }

void OutputFile::write_out() {
  try {
    if (const auto written = write_all(fd_.get(), std::string_view(buffer_).substr(0, whole_)); !written) {
      throw IoError("ebb: " + path_ + ": " + written.error().message);
    }
  } catch (const IoError&) {
    fail_run(*context_);
    throw;
  }
  buffer_.clear();
  whole_ = 0;
}

void OutputFile::flush() {
  write_out();
  if (::fsync(fd_.get()) != 0) throw io_error(errno, "cannot write " + path_);
}

void OutputFile::commit() {
  try {
    flush();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw io_error(errno, "cannot rename to " + path_);
  } catch (...) {
    abort();
    throw;
  }
  fd_.reset();
  // The name is on the disk when its folder is.
  fs::path folder = fs::path(path_).parent_path();
  if (folder.empty()) folder = ".";
  const auto opened = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!opened) throw IoError("ebb: " + opened.error().message);
  if (::fsync(opened->get()) != 0 && errno != EINVAL)
    throw io_error(errno, "cannot fsync " + folder.string());
}

void OutputFile::abort() noexcept {
  if (!fd_) return;
  ::unlink(temporary_.c_str());
  fd_.reset();
}

}  // namespace ebb::flow
