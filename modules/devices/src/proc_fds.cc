#include "proc_fds.h"

#include <filesystem>

#include "numbers.h"

namespace ebb::devices {

pid_t find_descriptor(const std::function<bool(pid_t, const std::string& fd)>& visit) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const auto pid = parse_number<pid_t>(process->path().filename().native());
    if (!pid) continue;
    std::error_code gone;  // processes come and go while we look
    for (fs::directory_iterator fd(process->path() / "fd", gone), last; !gone && fd != last;
         fd.increment(gone)) {
      if (visit(*pid, fd->path().native())) return *pid;
    }
  }
  return 0;
}

}  // namespace ebb::devices
