#include "ebb/process/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "codec.h"
#include "ebb/base/files.h"
#include "ebb/base/text.h"

namespace ebb::process {
namespace {

// The mount point's octal escapes (\040 for a space) undone.
std::string unescape(std::string_view text) {
  const auto octal = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_word(std::string_view list, std::string_view word) {
  const auto words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

struct Mount {
  std::string root;
  std::string point;
  std::string_view type;
  std::string_view options;
};

// "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755"
std::optional<Mount> parse_mount(std::string_view line) {
  const std::size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto left = split(line.substr(0, dash), ' ');
  const auto right = split(line.substr(dash + 3), ' ');
  if (left.size() < 5 || right.size() < 3) return std::nullopt;
  return Mount{.root = unescape(left[3]), .point = unescape(left[4]), .type = right[0], .options = right[2]};
}

// The group of this process in the hierarchy whose line in /proc/self/cgroup names `controller` ("" for v2).
std::optional<std::string> own_group(std::string_view own, std::string_view controller) {
  for (const std::string_view line : split(own, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const bool matches = controller.empty() ? line.substr(0, first) == "0" && controllers.empty()
                                            : has_word(controllers, controller);
    if (matches) return std::string(line.substr(second + 1));
  }
  return std::nullopt;
}

// A bind mount or a container shows only a part of the hierarchy; the own group must lie in that part.
std::optional<CgroupMounts::Hierarchy> locate(const Mount& mount, std::string_view own,
                                              std::string_view controller) {
  const auto group = own_group(own, controller);
  if (!group || group->find("/..") != std::string::npos) return std::nullopt;
  std::string_view below = *group;
  if (mount.root != "/") {
    if (!below.starts_with(mount.root)) return std::nullopt;
    below.remove_prefix(mount.root.size());
    if (!below.empty() && below.front() != '/') return std::nullopt;
  }
  if (below == "/") below = {};
  return CgroupMounts::Hierarchy{.mount = mount.point, .own = std::string(below)};
}

// A control file is tiny and comes in one read.
std::string_view read_control(int fd, std::array<char, 512>& buffer) noexcept {
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  return got > 0 ? std::string_view(buffer.data(), static_cast<std::size_t>(got)) : std::string_view();
}

bool flag_set(int fd, std::string_view line) noexcept {
  std::array<char, 512> buffer;
  return read_control(fd, buffer).find(line) != std::string_view::npos;
}

void collect_processes(const std::string& path, std::vector<pid_t>& pids) {
  if (auto text = read_file(path + "/cgroup.procs")) {
    for (const std::string_view line : split(*text, '\n')) {
      pid_t pid = 0;
      if (std::from_chars(line.data(), line.data() + line.size(), pid).ec == std::errc() && pid > 0) {
        pids.push_back(pid);
      }
    }
  }
}

// The groups right below `path`; none of one that is gone.
Result<std::vector<std::string>> children_of(const std::string& path) {
  std::vector<std::string> children;
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) {
    if (errno == ENOENT) return children;
    return errno_error(errno, "cannot look into the cgroup " + path);
  }
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..")
      children.push_back(path + "/" + entry->d_name);
  }
  ::closedir(folder);
  return children;
}

using Visit = std::function<bool(const std::string&)>;

// False when `visit` has said so. A job with a writable group may nest them.
bool walk(const std::string& path, const Visit& visit, Result<void>& outcome) {
  auto children = children_of(path);
  if (!children) {
    if (outcome) outcome = std::move(children).error();
    return true;
  }
  return std::ranges::all_of(
      *children, [&](const std::string& child) { return walk(child, visit, outcome) && visit(child); });
}

Result<void> remove_one(const std::string& path, BootTime deadline) {
  for (;;) {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY) return errno_error(errno, "cannot remove the cgroup " + path);
    auto events = CgroupEvents::open(path);
    if (!events) return {};  // it went meanwhile
    // populated=0 comes a moment before the last task has left the kernel's lists: then the next try is due
    // at once, and it is the kernel that makes rmdir wait for its lock.
    if (!events->wait_empty(deadline)) {
      return wire_error(Errc::timeout, "the cgroup " + path + " still holds processes");
    }
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
    if (BootClock::now() >= deadline)
      return errno_error(errno, "cannot remove the cgroup " + path, Errc::timeout);
    ::sched_yield();
  }
}

}  // namespace

CgroupMounts parse_cgroup_mounts(std::string_view mountinfo, std::string_view own) {
  CgroupMounts found;
  std::vector<std::string> points;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const auto mount = parse_mount(line);
    if (!mount) continue;
    if (mount->type == "cgroup2") {
      points.push_back(mount->point);
      if (!found.unified) found.unified = locate(*mount, own, "");
    } else if (mount->type == "cgroup") {
      points.push_back(mount->point);
      if (!found.memory_v1 && has_word(mount->options, "memory"))
        found.memory_v1 = locate(*mount, own, "memory");
      if (!found.pids_v1 && has_word(mount->options, "pids")) found.pids_v1 = locate(*mount, own, "pids");
    }
  }
  if (points.empty()) return found;
  // /sys/fs/cgroup itself, or the tmpfs there that holds the hierarchies' mount points: their common folder.
  std::string common = points.front();
  for (const std::string& point : points) {
    while (common != point && !point.starts_with(common + "/")) {
      const std::size_t slash = common.rfind('/');
      if (slash == std::string::npos || slash == 0) return found;  // not one place: no root
      common.resize(slash);
    }
  }
  found.root = common;
  return found;
}

Result<CgroupMounts> find_cgroup_mounts() {
  auto mountinfo = read_file("/proc/self/mountinfo");
  if (!mountinfo) return std::move(mountinfo).error();
  auto own = read_file("/proc/self/cgroup");
  if (!own) return std::move(own).error();
  return parse_cgroup_mounts(*mountinfo, *own);
}

std::string cgroup_base_name(std::string_view state_dir) {
  std::uint32_t hash = 2166136261U;  // FNV-1a: stable over versions, which std::hash is not
  for (const char c : state_dir) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  char text[16];
  std::snprintf(text, sizeof text, "ebb-%08x", static_cast<unsigned>(hash));
  return text;
}

Result<void> make_cgroup(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return {};
  return errno_error(errno, "cannot make the cgroup " + path, errno == EEXIST ? Errc::conflict : Errc::io);
}

Result<void> make_attempt_cgroup(const std::string& path) {
  if (auto made = make_cgroup(path); !made) return made;
  for (const char* child : {"/keeper", "/job"}) {
    if (auto made = make_cgroup(path + child); !made) {
      ::rmdir((path + "/keeper").c_str());
      ::rmdir(path.c_str());
      return made;
    }
  }
  return {};
}

Result<void> remove_cgroup(const std::string& path, BootTime deadline) {
  // The usual cases first: nothing is nested any more, or what make_attempt_cgroup() made.
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
  if (::rmdir((path + "/keeper").c_str()) == 0 && ::rmdir(path.c_str()) == 0) return {};
  Result<void> outcome;
  auto walked = for_each_cgroup_below(path, [&](const std::string& child) {
    if (auto removed = remove_one(child, deadline); !removed) outcome = std::move(removed);
    return true;
  });
  if (!outcome) return outcome;
  if (!walked) return walked;
  return remove_one(path, deadline);
}

Result<void> kill_cgroup(const std::string& path) {
  auto killed = write_cgroup(path, "cgroup.kill", "1");
  if (!killed && ::access(path.c_str(), F_OK) != 0) return {};
  return killed;
}

Result<void> for_each_cgroup_below(const std::string& path, const Visit& visit) {
  Result<void> outcome;
  walk(path, visit, outcome);
  return outcome;
}

Result<std::vector<pid_t>> cgroup_processes(const std::string& path) {
  std::vector<pid_t> pids;
  auto walked = for_each_cgroup_below(path, [&](const std::string& child) {
    collect_processes(child, pids);
    return true;
  });
  if (!walked) return std::move(walked).error();
  collect_processes(path, pids);
  return pids;
}

std::uint64_t cgroup_id(const std::string& path) noexcept {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

Result<void> write_cgroup(const std::string& path, std::string_view file, std::string_view value) {
  const std::string full = path + "/" + std::string(file);
  const UniqueFd fd(::open(full.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "cannot open " + full);
  if (::write(fd.get(), value.data(), value.size()) < 0) {
    return errno_error(errno, "cannot write '" + std::string(value) + "' to " + full);
  }
  return {};
}

Result<CgroupEvents> CgroupEvents::open(const std::string& path) {
  const std::string full = path + "/cgroup.events";
  CgroupEvents events;
  events.fd_.reset(::open(full.c_str(), O_RDONLY | O_CLOEXEC));
  if (!events.fd_)
    return errno_error(errno, "cannot open " + full, errno == ENOENT ? Errc::not_found : Errc::io);
  return events;
}

bool CgroupEvents::populated() const noexcept { return flag_set(fd_.get(), "populated 1"); }
bool CgroupEvents::frozen() const noexcept { return flag_set(fd_.get(), "frozen 1"); }

bool CgroupEvents::wait_empty(BootTime deadline) const noexcept {
  // The read arms the next POLLPRI, so nothing is missed between it and the poll.
  while (populated()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
    if (left <= 0) return false;
    pollfd entry{.fd = fd_.get(), .events = POLLPRI, .revents = 0};
    ::poll(&entry, 1, static_cast<int>(std::min<long long>(left, 3'600'000)));
  }
  return true;
}

}  // namespace ebb::process
