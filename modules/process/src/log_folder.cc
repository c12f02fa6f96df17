#include "log_folder.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <memory>

#include "ebb/base/unique_fd.h"
#include "ebb/process/log_format.h"

namespace ebb::process {

SegmentName segment_text_name(std::uint64_t segment) noexcept {
  SegmentName name;
  std::snprintf(name.text, sizeof name.text, "output.%06" PRIu64, segment);
  return name;
}

SegmentName segment_index_name(std::uint64_t segment) noexcept {
  SegmentName name;
  std::snprintf(name.text, sizeof name.text, "output.%06" PRIu64 ".index", segment);
  return name;
}

Result<std::vector<std::uint64_t>> list_segments(int folder) {
  // Opened anew, because a duplicate would share its place in the folder with other calls.
  UniqueFd fd(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "cannot open a log's folder");
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd.get()), &::closedir);
  if (!dir) return errno_error(errno, "cannot list a log's folder");
  static_cast<void>(fd.release());  // closedir() closes it
  std::vector<std::uint64_t> found;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (const auto number = parse_log_index_name(entry->d_name)) found.push_back(*number);
    errno = 0;
  }
  if (errno != 0) return errno_error(errno, "cannot list a log's folder");
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace ebb::process
