#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>

#include "ebb/base/text.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/scratch.h"

namespace ebb::process {
namespace {

// How many entries go between two looks at the clock.
constexpr unsigned kStep = 256;
// How many subfolders of one folder are remembered at once; the folder is read again for more.
constexpr std::size_t kMostPending = 1024;
// A folder with more than this that cannot be removed is given up.
constexpr std::size_t kMostKept = 256;
constexpr int kOpenFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// A folder on the way down. Only the deepest one is open, since a tree may be deeper than the limit on
// descriptors; the way back is ".." and must lead to the folder that was left.
struct Level {
  std::string name;  // in the one above
  dev_t device = 0;
  ino_t inode = 0;
  std::vector<std::string> pending;  // subfolders to enter
  std::set<std::string> kept;        // what could not be removed, not to be tried again
  bool opened_up = false;            // its mode was changed so that it can be emptied
};

// The number of the mount that `fd` is in: bind mounts share a device, so that one does not tell. 0: not
// known.
std::uint64_t mount_of(int fd) {
  struct statx found{};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &found) != 0 || (found.stx_mask & STATX_MNT_ID) == 0)
    return 0;
  return found.stx_mnt_id;
}

// Walks without recursion. levels_[0] is the folder above the tree, which is left alone.
class Remover {
 public:
  Remover(const std::filesystem::path& folder, BootTime deadline, const std::atomic<bool>* stop)
      : above_(folder.parent_path()), name_(folder.filename().string()), deadline_(deadline), stop_(stop) {}

  TreeRemoval run();

 private:
  void enter(const std::string& name);
  void scan();
  void leave();
  bool remove_entry(const std::string& name, bool folder, bool emptied = false);
  bool stopped();
  void keep(const std::string& name, const std::string& why);
  std::string path_of(const std::string& name) const;

  std::filesystem::path above_;
  std::string name_;
  BootTime deadline_;
  const std::atomic<bool>* stop_;
  UniqueFd here_;
  dev_t device_ = 0;
  std::uint64_t mount_ = 0;
  std::vector<Level> levels_;
  unsigned until_look_ = 0;
  TreeRemoval result_;
};

bool Remover::stopped() {
  if (result_.stopped) return true;
  if (stop_ != nullptr && stop_->load(std::memory_order_relaxed)) return result_.stopped = true;
  if (until_look_-- > 0) return false;
  until_look_ = kStep;
  return result_.stopped = BootClock::now() >= deadline_;
}

std::string Remover::path_of(const std::string& name) const {
  std::string path = above_.string();
  for (std::size_t i = 1; i < levels_.size() && path.size() < 4096; ++i) path += "/" + levels_[i].name;
  return printable(path + "/" + name);
}

void Remover::keep(const std::string& name, const std::string& why) {
  levels_.back().kept.insert(name);
  if (result_.left.size() < kMostLeft) result_.left.push_back(path_of(name) + ": " + why);
}

// Removes one entry of the open folder, if it is no folder or an empty one. False: a folder with something in
// it, or (unless `emptied`) one that may not be removed, but what is in it perhaps may.
bool Remover::remove_entry(const std::string& name, bool folder, bool emptied) {
  Level& level = levels_.back();
  for (;;) {
    if (::unlinkat(here_.get(), name.c_str(), folder ? AT_REMOVEDIR : 0) == 0) {
      ++result_.removed;
      return true;
    }
    const int error = errno;
    if (error == ENOENT) return true;
    if (!folder && error == EISDIR) {
      folder = true;
    } else if (folder && error == ENOTDIR) {
      folder = false;
    } else if (folder && (error == ENOTEMPTY || error == EEXIST)) {
      return false;
    } else if ((error == EACCES || error == EPERM) && !level.opened_up && levels_.size() > 1) {
      // A folder that its owner may not write or search.
      level.opened_up = true;
      static_cast<void>(::fchmod(here_.get(), 0700));
    } else if (folder && !emptied && (error == EACCES || error == EPERM)) {
      return false;
    } else {
      keep(name, error == EBUSY ? "something is mounted there" : std::strerror(error));
      return true;
    }
  }
}

void Remover::enter(const std::string& name) {
  UniqueFd next(::openat(here_.get(), name.c_str(), kOpenFolder));
  if (!next && errno == EACCES) {
    // Its mode is changed through a descriptor, so that a link put in its place cannot lead us to another
    // file.
    const UniqueFd closed(::openat(here_.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (closed && ::chmod(("/proc/self/fd/" + std::to_string(closed.get())).c_str(), 0700) == 0) {
      next.reset(::openat(here_.get(), name.c_str(), kOpenFolder));
    } else {
      errno = EACCES;
    }
  }
  if (!next) {
    if (errno == ENOTDIR || errno == ELOOP) {
      static_cast<void>(remove_entry(name, false));
    } else if (errno != ENOENT) {
      keep(name, std::strerror(errno));
    }
    return;
  }
  struct stat found{};
  if (::fstat(next.get(), &found) != 0) return keep(name, std::strerror(errno));
  if (found.st_dev != device_ || mount_of(next.get()) != mount_)
    return keep(name, "something is mounted there");
  Level level;
  level.name = name;
  level.device = found.st_dev;
  level.inode = found.st_ino;
  levels_.push_back(std::move(level));
  here_ = std::move(next);
}

// Reads the open folder once and removes what can be removed; what has something in it becomes pending.
void Remover::scan() {
  Level& level = levels_.back();
  const int copy = ::fcntl(here_.get(), F_DUPFD_CLOEXEC, 0);
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(copy < 0 ? nullptr : ::fdopendir(copy), &::closedir);
  if (!dir) {
    if (copy >= 0) ::close(copy);
    return keep(".", std::strerror(errno));
  }
  ::rewinddir(dir.get());  // the copy shares its place with the folder as it was read before
  while (level.pending.size() < kMostPending && level.kept.size() < kMostKept && !stopped()) {
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == ".." || level.kept.contains(name)) continue;
    if (!remove_entry(name, entry->d_type == DT_DIR)) level.pending.push_back(name);
  }
}

// Goes back to the folder above and removes the one that was left, if it is empty now.
void Remover::leave() {
  const Level left = std::move(levels_.back());
  levels_.pop_back();
  const Level& level = levels_.back();
  UniqueFd above(::openat(here_.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat found{};
  if (!above || ::fstat(above.get(), &found) != 0 || found.st_dev != level.device ||
      found.st_ino != level.inode) {
    keep(left.name, above ? "it was moved while it was being removed" : std::strerror(errno));
    result_.stopped = true;  // where we are is not where we came from: nothing more is touched
    return;
  }
  here_ = std::move(above);
  if (!left.kept.empty()) {
    levels_.back().kept.insert(left.name);  // what is in it has been named
  } else if (!remove_entry(left.name, true, true)) {
    keep(left.name, "something is still being written there");
  }
}

TreeRemoval Remover::run() {
  here_.reset(::open(above_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat found{};
  if (!here_ || ::fstat(here_.get(), &found) != 0) {
    result_.complete = errno == ENOENT;
    if (!result_.complete) result_.left.push_back(above_.string() + ": " + std::strerror(errno));
    return std::move(result_);
  }
  device_ = found.st_dev;
  mount_ = mount_of(here_.get());
  Level top;
  top.device = found.st_dev;
  top.inode = found.st_ino;
  levels_.push_back(std::move(top));
  if (!remove_entry(name_, true)) levels_.back().pending.push_back(name_);
  while (!stopped()) {
    Level& level = levels_.back();
    if (!level.pending.empty()) {
      const std::string name = std::move(level.pending.back());
      level.pending.pop_back();
      enter(name);
      continue;
    }
    if (levels_.size() == 1) break;
    // Read again until nothing more is found: a folder that changes while it is read may hide an entry.
    const std::uint64_t removed = result_.removed;
    scan();
    if (result_.stopped) break;
    if (level.pending.empty() && (result_.removed == removed || level.kept.size() >= kMostKept)) leave();
  }
  result_.complete = !result_.stopped && levels_.size() == 1 && levels_[0].kept.empty();
  return std::move(result_);
}

}  // namespace

TreeRemoval remove_tree(const std::filesystem::path& folder, BootTime deadline,
                        const std::atomic<bool>* stop) {
  if (folder.filename().empty() || folder.filename() == "." || folder.filename() == ".." ||
      !folder.is_absolute()) {
    TreeRemoval refused;
    refused.left.push_back("'" + folder.string() + "': only a folder with an absolute path is removed");
    return refused;
  }
  return Remover(folder, deadline, stop).run();
}

}  // namespace ebb::process
