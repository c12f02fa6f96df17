#include <sys/inotify.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ebb/process/log_reader.h"

namespace ebb::process {

Result<LogWatch> LogWatch::create() {
  LogWatch watch;
  watch.inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!watch.inotify_) {
    return errno_error(errno, "cannot watch logs (raise fs.inotify.max_user_instances)");
  }
  return watch;
}

Result<int> LogWatch::add(const std::filesystem::path& folder) {
  // Text is written before its index record, and only the record counts; but one watch covers both files.
  const int watch = ::inotify_add_watch(inotify_.get(), folder.c_str(),
                                        IN_MODIFY | IN_CREATE | IN_DELETE_SELF | IN_ONLYDIR);
  if (watch < 0) {
    const Errc code = errno == ENOENT ? Errc::not_found : Errc::io;
    return errno_error(errno,
                       "cannot watch the log in " + folder.string() +
                           (errno == ENOSPC ? " (raise fs.inotify.max_user_watches)" : ""),
                       code);
  }
  return watch;
}

void LogWatch::remove(int watch) noexcept { ::inotify_rm_watch(inotify_.get(), watch); }

LogWatch::Changes LogWatch::changed() {
  Changes changes;
  alignas(inotify_event) char buffer[16 << 10];
  // Bounded, so that a fast writer cannot hold us here; what is left keeps fd() readable.
  for (int pass = 0; pass < 16; ++pass) {
    const ssize_t got = ::read(inotify_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof event);
      at += sizeof event + event.len;
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        changes.all = true;
      } else if ((event.mask & IN_IGNORED) == 0) {
        changes.watches.push_back(event.wd);
      }
    }
  }
  std::sort(changes.watches.begin(), changes.watches.end());
  changes.watches.erase(std::unique(changes.watches.begin(), changes.watches.end()), changes.watches.end());
  return changes;
}

}  // namespace ebb::process
