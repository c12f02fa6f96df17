#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <memory>

#include "census_detail.h"
#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/socket_owner.h"

namespace ebb::process {
namespace {

constexpr std::size_t kMostCgroups = 100'000;
constexpr std::size_t kMostEntries = 1'000'000;

namespace fs = std::filesystem;

// The names in a folder; one that is not there has none.
std::vector<std::string> names_in(const std::string& folder, Census& census) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
    if (names.size() == kMostEntries) {
      census.unseen.push_back(folder + ": only the first " + std::to_string(kMostEntries) + " entries");
      break;
    }
  }
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    census.unseen.push_back(folder + ": " + error.message());
  }
  return names;
}

bool exists(const std::string& path) {
  struct stat found{};
  return ::lstat(path.c_str(), &found) == 0;
}

// The attempt that the first name below `base` stands for.
std::optional<AttemptId> attempt_below(std::string_view path, std::string_view base) {
  path.remove_prefix(base.size() + 1);
  return AttemptId::parse(path.substr(0, path.find('/')));
}

bool is_below(std::string_view path, std::string_view base) {
  return !base.empty() && path.size() > base.size() + 1 && path.starts_with(base) && path[base.size()] == '/';
}

void walk_hierarchy(const std::string& mount, const std::string& base, Census& census) {
  std::size_t seen = 0;
  const auto walked = for_each_cgroup_below(mount, [&](const std::string& path) {
    if (++seen > kMostCgroups) {
      census.unseen.push_back(mount + ": only the first " + std::to_string(kMostCgroups) + " groups");
      return false;
    }
    const fs::path names(path);
    const auto attempt = AttemptId::parse(names.filename().string());
    const std::string parent = names.parent_path().filename().string();
    if (!attempt || !parent.starts_with("ebb-")) return true;
    // A group may go while it is looked at; then it holds nothing.
    const auto processes = cgroup_processes(path);
    census.cgroups.push_back({.path = path,
                              .attempt = *attempt,
                              .processes = processes ? processes->size() : 0,
                              .ours = parent == base});
    return true;
  });
  if (!walked) census.unseen.push_back(walked.error().message);
}

// "\040" and the like are what the kernel writes for a space, tab, newline or backslash.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(digits, digits + 3, value, 8).ptr == digits + 3 && value < 256) {
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// What is looked for in the descriptors of all processes.
struct Wanted {
  std::map<std::string, std::size_t> locks;      // path → place in census.locks
  std::map<std::uint64_t, std::size_t> sockets;  // inode → place in census.listeners
};

// Whether a descriptor's open file holds a lock: its fdinfo says so, of a shared description in each process.
bool holds_lock(pid_t pid, const char* fd) {
  const auto text = read_proc_file(pid, (std::string("fdinfo/") + fd).c_str());
  return text && (text->starts_with("lock:") || text->find("\nlock:") != std::string::npos);
}

void look_at_descriptors(const ProcessTable::Row& row, const Wanted& wanted, Census& census,
                         std::size_t& closed) {
  const pid_t pid = row.stat.pid;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), &::closedir);
  if (!dir) {
    if ((errno == EACCES || errno == EPERM) && row.stat.pid != kFirstProcess) ++closed;
    return;
  }
  std::set<std::vector<CensusHolder>*> added;  // a process may hold one thing by several descriptors
  const auto add = [&](std::vector<CensusHolder>& holders) {
    if (!added.insert(&holders).second) return;
    CensusHolder holder{.pid = pid, .uid = 0, .comm = printable(row.stat.comm)};
    if (const auto status = read_proc_status(pid)) holder.uid = status->uid;
    holders.push_back(std::move(holder));
  };
  while (const dirent* entry = ::readdir(dir.get())) {
    std::array<char, 4096> buffer;
    const ssize_t length = ::readlinkat(::dirfd(dir.get()), entry->d_name, buffer.data(), buffer.size());
    if (length <= 0) continue;
    const std::string_view target(buffer.data(), static_cast<std::size_t>(length));
    if (target.starts_with("socket:[")) {
      std::uint64_t inode = 0;
      std::from_chars(target.data() + 8, target.data() + target.size(), inode);
      if (const auto at = wanted.sockets.find(inode); at != wanted.sockets.end()) {
        add(census.listeners[at->second].holders);
      }
    } else if (const auto at = wanted.locks.find(std::string(target));
               at != wanted.locks.end() && holds_lock(pid, entry->d_name)) {
      add(census.locks[at->second].holders);
    }
  }
}

}  // namespace

std::vector<std::string> parse_mount_points(std::string_view mountinfo) {
  std::vector<std::string> points;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const auto fields = split(line, ' ');
    if (fields.size() >= 6) points.push_back(unescaped(fields[4]));
  }
  return points;
}

void find_folders(Census& census) {
  const CensusPlaces& places = census.places;
  if (!places.attempts.empty()) {
    for (const std::string& name : names_in(places.attempts, census)) {
      const auto attempt = AttemptId::parse(name);
      if (!attempt) continue;
      const std::string folder = places.attempts + "/" + name;
      census.attempts.push_back({.attempt = *attempt,
                                 .folder = folder,
                                 .socket = exists(folder + "/keeper.sock"),
                                 .end_record = exists(folder + "/end")});
    }
  }
  if (!places.scratch.empty()) {
    for (const std::string& name : names_in(places.scratch, census)) {
      census.scratch.push_back({.path = places.scratch + "/" + name, .attempt = AttemptId::parse(name)});
    }
  }
  const auto mountinfo = read_file("/proc/self/mountinfo");
  if (!mountinfo) {
    census.unseen.push_back(mountinfo.error().message);
    return;
  }
  for (const std::string& point : parse_mount_points(*mountinfo)) {
    for (const std::string& base : {places.attempts, places.scratch}) {
      if (is_below(point, base))
        census.mounts.push_back({.path = point, .attempt = attempt_below(point, base)});
    }
  }
}

void find_cgroups(Census& census) {
  const auto mounts = find_cgroup_mounts();
  if (!mounts) {
    census.unseen.push_back(mounts.error().message);
    return;
  }
  const std::string base = cgroup_base_name(census.places.state_dir);
  for (const auto& hierarchy : {mounts->unified, mounts->memory_v1, mounts->pids_v1}) {
    if (hierarchy) walk_hierarchy(hierarchy->mount, base, census);
  }
}

void find_held(const ProcessTable& table, Census& census) {
  Wanted wanted;
  for (const std::string& folder : census.places.lock_dirs) {
    // A descriptor's link shows the folder's real name: /run/lock where /var/lock was given.
    std::error_code error;
    const std::string real = fs::canonical(folder, error).string();
    if (error) continue;  // no lock was ever taken there
    for (const std::string& name : names_in(real, census)) {
      if (!wanted.locks.emplace(real + "/" + name, census.locks.size()).second) continue;
      census.locks.push_back({.path = real + "/" + name, .name = name, .holders = {}});
    }
  }
  if (census.places.first_port != 0 || census.places.last_port != 0) {
    auto listeners = tcp_listeners(census.places.first_port, census.places.last_port);
    if (!listeners) census.unseen.push_back(listeners.error().message);
    for (Listener& listener : listeners ? *listeners : std::vector<Listener>()) {
      wanted.sockets.emplace(listener.inode, census.listeners.size());
      census.listeners.push_back({.listener = std::move(listener), .holders = {}, .attempt = {}});
    }
  }
  std::size_t closed = 0;
  if (!wanted.locks.empty() || !wanted.sockets.empty()) {
    for (const auto& [pid, row] : table.rows) look_at_descriptors(row, wanted, census, closed);
  }
  std::erase_if(census.locks, [](const CensusLock& lock) { return lock.holders.empty(); });
  if (closed > 0) census.unseen.push_back(unseen_of("descriptors", closed));
  std::map<std::uint64_t, AttemptId> groups;
  for (const CensusCgroup& group : census.cgroups) {
    for (const std::uint64_t id : cgroup_ids_below(group.path)) groups.emplace(id, group.attempt);
  }
  for (CensusListener& listener : census.listeners) {
    for (const CensusProcess& process : census.processes) {
      for (const CensusHolder& holder : listener.holders) {
        if (process.identity.pid == holder.pid && process.attempt) listener.attempt = process.attempt;
      }
    }
    const auto group = groups.find(listener.listener.cgroup_id.value_or(0));
    if (group != groups.end()) listener.attempt = group->second;
  }
}

}  // namespace ebb::process
