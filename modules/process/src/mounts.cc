#include "mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>
#include <vector>

#include "ebb/base/files.h"

namespace ebb::process {
namespace {

Error cannot(std::string what) { return errno_error(errno, "cannot " + what); }

Result<void> set_attribute(const std::string& path, std::uint64_t attribute, unsigned flags) {
  mount_attr attributes{};
  attributes.attr_set = attribute;
  if (::mount_setattr(AT_FDCWD, path.c_str(), flags, &attributes, sizeof attributes) == 0) return {};
  return cannot("change the mount at " + path);
}

// Something inside a folder that is about to be hidden, held open so that it can be put back.
struct Kept {
  std::string path;
  std::string link;  ///< where it is a symbolic link: its target
  bool folder = false;
  UniqueFd tree;
};

bool inside(const std::string& path, const std::string& folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

Result<std::vector<Kept>> take_along(const LaunchSpec& spec, const std::string& folder) {
  std::vector<Kept> kept;
  for (const std::string& path : spec.reachable) {
    if (!inside(path, folder)) continue;
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0) {
      if (errno == ENOENT) continue;
      return cannot("look at " + path);
    }
    Kept entry{.path = path, .link = {}, .folder = S_ISDIR(info.st_mode), .tree = {}};
    if (S_ISLNK(info.st_mode)) {
      char target[PATH_MAX];
      const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
      if (length < 0) return cannot("read the link " + path);
      entry.link.assign(target, static_cast<std::size_t>(length));
    } else {
      entry.tree.reset(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
      if (!entry.tree) return cannot("keep " + path);
    }
    kept.push_back(std::move(entry));
  }
  return kept;
}

Result<void> put_back(const Kept& entry, const std::string& folder) {
  const std::string parent = entry.path.substr(0, entry.path.rfind('/'));
  if (parent.size() > folder.size()) {
    if (auto made = make_directories(parent, 0755); !made) return made;
  }
  if (!entry.link.empty()) {
    if (::symlink(entry.link.c_str(), entry.path.c_str()) != 0) return cannot("keep the link " + entry.path);
    return {};
  }
  if (entry.folder ? ::mkdir(entry.path.c_str(), 0755) != 0
                   : ::mknod(entry.path.c_str(), S_IFREG | 0600, 0) != 0) {
    return cannot("keep " + entry.path);
  }
  if (::move_mount(entry.tree.get(), "", AT_FDCWD, entry.path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return cannot("keep " + entry.path);
  }
  return {};
}

Result<void> hide(const LaunchSpec& spec, const std::string& folder) {
  if (::access(folder.c_str(), F_OK) != 0) return {};  // hidden well enough
  auto kept = take_along(spec, folder);
  if (!kept) return std::move(kept).error();
  if (::mount("ebb-hidden", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0755,size=64k") != 0) {
    return cannot("hide " + folder);
  }
  for (const Kept& entry : *kept) {
    if (auto back = put_back(entry, folder); !back) return back;
  }
  return set_attribute(folder, MOUNT_ATTR_RDONLY, 0);
}

// A device node over itself, on a mount without devices: open(2) says EACCES, for root too. /dev/null in its
// place would open, and answer NVIDIA's ioctls with an error that its library takes for a broken driver.
Result<void> mask(const std::string& device) {
  const UniqueFd tree(::open_tree(AT_FDCWD, device.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) {
    if (errno == ENOENT) return {};
    return cannot("mask " + device);
  }
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NODEV;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0 ||
      ::move_mount(tree.get(), "", AT_FDCWD, device.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return cannot("mask " + device);
  }
  return {};
}

}  // namespace

Result<void> write_text(const char* path, const std::string& text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  if (fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  return cannot(std::string("write ") + path);
}

Result<void> prepare_namespaces(const LaunchSpec& spec, uid_t uid, gid_t gid) {
  if (spec.user_namespace) {
    // One's own uid and gid are all that a user may map, and all that a job needs.
    const auto line = [](unsigned id) { return std::to_string(id) + " " + std::to_string(id) + " 1\n"; };
    if (auto done = write_text("/proc/self/uid_map", line(uid)); !done) return done;
    if (auto done = write_text("/proc/self/setgroups", "deny"); !done) return done;
    if (auto done = write_text("/proc/self/gid_map", line(gid)); !done) return done;
  }
  return arrange_mounts(spec);
}

Result<void> arrange_mounts(const LaunchSpec& spec) {
  // What the host mounts later (a home by autofs) still arrives; nothing goes the other way.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return cannot("separate the mounts");
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    return cannot("mount /proc");
  if (!spec.share_ipc && ::mount("ebb-shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0 &&
      errno != ENOENT) {
    return cannot("mount a private /dev/shm");
  }
  if (!spec.cgroup_root.empty()) {
    if (auto set = set_attribute(spec.cgroup_root, MOUNT_ATTR_RDONLY, AT_RECURSIVE); !set) return set;
  }
  for (const std::string& device : spec.mask_devices) {
    if (auto masked = mask(device); !masked) return masked;
  }
  for (const std::string& folder : spec.hide) {
    if (auto hidden = hide(spec, folder); !hidden) return hidden;
  }
  return {};
}

}  // namespace ebb::process
