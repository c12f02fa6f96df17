#include "ebb/process/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "ebb/base/clock.h"
#include "ebb/base/text.h"

namespace ebb::process {
namespace {

Error failure(Errc code, std::string message) {
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

// What reading /proc says about the process: ENOENT and ESRCH mean that it is gone.
Error proc_error(int error, pid_t pid, const char* name) {
  const Errc code = error == ENOENT || error == ESRCH   ? Errc::not_found
                    : error == EACCES || error == EPERM ? Errc::forbidden
                                                        : Errc::io;
  return errno_error(error, "cannot read " + std::string(name) + " of process " + std::to_string(pid), code);
}

template <typename T>
bool number(std::string_view text, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

// The words between spaces and tabs.
std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> found;
  for (;;) {
    const std::size_t start = text.find_first_not_of(" \t\n");
    if (start == std::string_view::npos) return found;
    text.remove_prefix(start);
    const std::size_t length = std::min(text.find_first_of(" \t\n"), text.size());
    found.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
}

template <typename T>
bool numbers(std::string_view text, std::vector<T>& values) {
  for (const std::string_view word : words(text)) {
    T value{};
    if (!number(word, value)) return false;
    values.push_back(value);
  }
  return true;
}

struct LimitName {
  std::string_view text;
  int resource;
};
constexpr std::array kLimitNames = {
    LimitName{"Max cpu time", RLIMIT_CPU},
    LimitName{"Max file size", RLIMIT_FSIZE},
    LimitName{"Max data size", RLIMIT_DATA},
    LimitName{"Max stack size", RLIMIT_STACK},
    LimitName{"Max core file size", RLIMIT_CORE},
    LimitName{"Max resident set", RLIMIT_RSS},
    LimitName{"Max processes", RLIMIT_NPROC},
    LimitName{"Max open files", RLIMIT_NOFILE},
    LimitName{"Max locked memory", RLIMIT_MEMLOCK},
    LimitName{"Max address space", RLIMIT_AS},
    LimitName{"Max file locks", RLIMIT_LOCKS},
    LimitName{"Max pending signals", RLIMIT_SIGPENDING},
    LimitName{"Max msgqueue size", RLIMIT_MSGQUEUE},
    LimitName{"Max nice priority", RLIMIT_NICE},
    LimitName{"Max realtime priority", RLIMIT_RTPRIO},
    LimitName{"Max realtime timeout", RLIMIT_RTTIME},
};

bool limit_value(std::string_view text, std::uint64_t& value) {
  if (text == "unlimited") {
    value = RLIM_INFINITY;
    return true;
  }
  return number(text, value);
}

}  // namespace

Result<ProcStat> parse_proc_stat(std::string_view text) {
  // The name stands in parentheses and may hold anything, parentheses and newlines too: its end is the last
  // one.
  const std::size_t open = text.find(" ("), close = text.rfind(')');
  ProcStat stat;
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2 ||
      !number(text.substr(0, open), stat.pid)) {
    return failure(Errc::corrupt, "this is no /proc/PID/stat");
  }
  stat.comm = text.substr(open + 2, close - open - 2);
  const auto fields = words(text.substr(close + 1));
  // fields[0] is the third of proc(5).
  if (fields.size() < 20 || fields[0].size() != 1 || !number(fields[1], stat.ppid) ||
      !number(fields[2], stat.process_group) || !number(fields[3], stat.session) ||
      !number(fields[16], stat.nice) || !number(fields[17], stat.threads) ||
      !number(fields[19], stat.start_time)) {
    return failure(Errc::corrupt, "this is no /proc/PID/stat");
  }
  stat.state = fields[0][0];
  return stat;
}

Result<ProcStatus> parse_proc_status(std::string_view text) {
  ProcStatus status;
  bool good = true, uid = false, gid = false;
  for (const std::string_view line : split(text, '\n')) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon), value = line.substr(colon + 1);
    std::vector<uid_t> ids;
    if (key == "Umask") {
      mode_t mask = 0;
      const auto found = words(value);
      good = good && found.size() == 1 && number(found[0], mask, 8);
      status.umask = mask;
    } else if (key == "Uid") {
      uid = numbers(value, ids) && ids.size() == 4;
      if (uid) status.uid = ids[0], status.effective_uid = ids[1];
    } else if (key == "Gid") {
      gid = numbers(value, ids) && ids.size() == 4;
      if (gid) status.gid = ids[0];
    } else if (key == "Groups") {
      good = good && numbers(value, status.groups);
    } else if (key == "NSpid") {
      good = good && numbers(value, status.namespace_pids);
    }
  }
  if (!good || !uid || !gid) return failure(Errc::corrupt, "this is no /proc/PID/status");
  return status;
}

Result<std::vector<ProcLimit>> parse_proc_limits(std::string_view text) {
  std::vector<ProcLimit> limits;
  for (const std::string_view line : split(text, '\n')) {
    for (const auto& [name, resource] : kLimitNames) {
      if (!line.starts_with(name)) continue;
      ProcLimit limit;
      limit.resource = resource;
      const auto values = words(line.substr(name.size()));
      if (values.size() < 2 || !limit_value(values[0], limit.soft) || !limit_value(values[1], limit.hard)) {
        return failure(Errc::corrupt, "this is no /proc/PID/limits");
      }
      limits.push_back(limit);
    }
  }
  if (limits.empty()) return failure(Errc::corrupt, "this is no /proc/PID/limits");
  return limits;
}

std::vector<std::string_view> parse_nul_words(std::string_view text) {
  if (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  if (text.empty()) return {};
  return split(text, '\0');
}

std::optional<std::string> parse_proc_cgroup(std::string_view text) {
  for (const std::string_view line : split(text, '\n')) {
    if (line.starts_with("0::/")) return std::string(line.substr(3));
  }
  return std::nullopt;
}

std::optional<std::string_view> environment_value(const std::vector<std::string_view>& words,
                                                  std::string_view name) {
  for (const std::string_view word : words) {
    if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=') {
      return word.substr(name.size() + 1);
    }
  }
  return std::nullopt;
}

Result<std::string> read_proc_file(pid_t pid, const char* name, std::size_t limit) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return proc_error(errno, pid, name);
  std::string data;
  for (;;) {
    const std::size_t had = data.size();
    // A size of 4 KiB suits most; large ones are read in fewer and larger steps.
    data.resize(had + std::max<std::size_t>(4096, had));
    const ssize_t got = ::read(fd.get(), data.data() + had, data.size() - had);
    const int error = errno;
    data.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && error == EINTR) continue;
    if (got < 0) return proc_error(error, pid, name);
    if (got == 0) return data;
    if (data.size() > limit) {
      return failure(Errc::too_large, std::string(name) + " of process " + std::to_string(pid) +
                                          " is larger than " + std::to_string(limit) + " bytes");
    }
  }
}

Result<std::string> read_proc_link(pid_t pid, const char* name) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  std::array<char, 8192> target;
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length < 0) return proc_error(errno, pid, name);
  return std::string(target.data(), static_cast<std::size_t>(length));
}

Result<ProcStat> read_proc_stat(pid_t pid) {
  auto text = read_proc_file(pid, "stat");
  if (!text) return std::move(text).error();
  return parse_proc_stat(*text);
}

Result<ProcStatus> read_proc_status(pid_t pid) {
  auto text = read_proc_file(pid, "status");
  if (!text) return std::move(text).error();
  return parse_proc_status(*text);
}

Result<std::string> read_proc_cgroup(pid_t pid) {
  auto text = read_proc_file(pid, "cgroup");
  if (!text) return std::move(text).error();
  return parse_proc_cgroup(*text).value_or("");
}

Result<std::vector<pid_t>> list_pids() {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc"), &::closedir);
  if (!dir) return errno_error(errno, "cannot list /proc");
  std::vector<pid_t> pids;
  while (const dirent* entry = ::readdir(dir.get())) {
    pid_t pid = 0;
    if (number(std::string_view(entry->d_name), pid) && pid > 0) pids.push_back(pid);
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

Result<UniqueFd> open_pidfd(pid_t pid) {
  const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd >= 0) return UniqueFd(fd);
  return errno_error(errno, "cannot open process " + std::to_string(pid),
                     errno == ESRCH || errno == EINVAL ? Errc::not_found : Errc::io);
}

bool pidfd_alive(int pidfd) noexcept {
  // EPERM: it is there, only not ours to signal.
  return ::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0 || errno == EPERM;
}

Result<ProcessIdentity> ProcessIdentity::of(pid_t pid) {
  auto pidfd = open_pidfd(pid);
  if (!pidfd) return std::move(pidfd).error();
  auto stat = read_proc_stat(pid);
  if (!stat) return std::move(stat).error();
  auto cgroup = read_proc_cgroup(pid);
  if (!cgroup) return std::move(cgroup).error();
  if (!pidfd_alive(pidfd->get())) {
    return failure(Errc::not_found, "process " + std::to_string(pid) + " ended while it was looked at");
  }
  return ProcessIdentity{
      .boot_id = ebb::boot_id(), .pid = pid, .start_time = stat->start_time, .cgroup = *std::move(cgroup)};
}

Result<ProcessIdentity> ProcessIdentity::parse(std::string_view text) {
  const auto wrong = [] {
    return failure(Errc::corrupt, "this names no process: BOOT-ID:PID:START:CGROUP is needed");
  };
  ProcessIdentity found;
  std::array<std::string_view, 3> parts;
  for (std::string_view& part : parts) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return wrong();
    part = text.substr(0, colon);
    text.remove_prefix(colon + 1);
  }
  if (!number(parts[1], found.pid) || found.pid <= 0 || !number(parts[2], found.start_time)) return wrong();
  if (!text.empty() && text.front() != '/') return wrong();
  found.boot_id = parts[0];
  found.cgroup = text;
  return found;
}

std::string ProcessIdentity::str() const {
  return boot_id + ":" + std::to_string(pid) + ":" + std::to_string(start_time) + ":" + cgroup;
}

Result<UniqueFd> ProcessIdentity::open_if_same() const {
  const auto gone = [&](const char* why) {
    return failure(Errc::not_found, "process " + std::to_string(pid) + " is gone (" + why + ")");
  };
  if (boot_id.empty() || boot_id != ebb::boot_id()) return gone("it was of another boot");
  auto pidfd = open_pidfd(pid);
  if (!pidfd) return pidfd;
  auto stat = read_proc_stat(pid);
  if (!stat) return std::move(stat).error();
  if (stat->start_time != start_time) return gone("another process has its number now");
  if (!cgroup.empty()) {
    auto now = read_proc_cgroup(pid);
    if (!now) return std::move(now).error();
    if (*now != cgroup) return gone("the process with its number is in another cgroup");
  }
  // What was read by number is about the pidfd's process only if that one held the number all the while.
  if (!pidfd_alive(pidfd->get())) return gone("it ended just now");
  return pidfd;
}

}  // namespace ebb::process
