#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/devices/gpu.h"

namespace ebb::devices {

/// Owns a locked file: the lock is that of the open file description, so it is held until the last copy of
/// the descriptor, here and in the keeper, is closed.
class LockFile {
 public:
  LockFile() = default;
  LockFile(UniqueFd fd, std::filesystem::path path) noexcept : fd_(std::move(fd)), path_(std::move(path)) {}

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return bool(fd_); }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Another descriptor (CLOEXEC) of the same open file description, for the keeper.
  [[nodiscard]] Result<UniqueFd> dup() const;
  /// Gives up this copy; the lock stays while another one is open.
  void close() noexcept { fd_.reset(); }

 private:
  UniqueFd fd_;
  std::filesystem::path path_;
};

/// Who holds a lock, for messages.
struct LockHolder {
  pid_t pid = 0;
  std::string name;  ///< /proc/PID/comm
  std::string user;
};
/// "pid 4711 (ebb-keeper, alice)"
[[nodiscard]] std::string describe(const LockHolder& holder);

/// A folder of lock files that are made when first needed and never unlinked. Any thread.
class LockDirectory {
 public:
  static constexpr const char* kDefault = "/run/lock/ebb";

  /// The machine-wide one: $EBB_LOCK_DIR, else /run/lock/ebb; made with mode 1777 where it is missing. Root
  /// takes an existing one that belongs to somebody else. The error names the command that makes it.
  [[nodiscard]] static Result<LockDirectory> open_machine_wide();
  /// `path` for every user (1777).
  [[nodiscard]] static Result<LockDirectory> open_shared(const std::filesystem::path& path);
  /// `path` for this user only (0700): where declared GPUs lock, in the state directory.
  [[nodiscard]] static Result<LockDirectory> open_private(const std::filesystem::path& path);

  /// Takes the lock `name` at once or fails: conflict, naming the holder where /proc tells. `name`: letters,
  /// digits, '-', '.' and '_', at most 128, not beginning with '.'.
  [[nodiscard]] Result<LockFile> lock(std::string_view name) const;
  /// A lock that a keeper handed over: fails unless it is this file and this very description holds, or can
  /// take, the lock.
  [[nodiscard]] Result<LockFile> adopt(std::string_view name, UniqueFd fd) const;
  /// Takes a lock that only this user's processes take, and only for a moment: waits for it. The file is made
  /// with 0600; fails (forbidden) where it belongs to somebody else, who could hold it for ever.
  [[nodiscard]] Result<LockFile> wait_own(std::string_view name) const;
  /// The same without waiting: conflict where it is held.
  [[nodiscard]] Result<LockFile> lock_own(std::string_view name) const;
  /// Whether somebody holds the lock now; makes no file. Whoever takes the lock in this very moment is told
  /// that it is held.
  [[nodiscard]] bool is_locked(std::string_view name) const;
  /// None: nobody, or nobody that may be seen.
  [[nodiscard]] std::optional<LockHolder> holder(std::string_view name) const;

  /// All locks that are held now, by name, and by whom where that may be seen. For `ebb audit`; slow.
  [[nodiscard]] std::vector<std::pair<std::string, std::optional<LockHolder>>> held() const;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  LockDirectory(std::filesystem::path path, mode_t mode) : path_(std::move(path)), mode_(mode) {}
  [[nodiscard]] Result<UniqueFd> open_lock(std::string_view name, mode_t mode) const;
  [[nodiscard]] Result<LockFile> take(std::string_view name, mode_t mode, bool wait) const;

  std::filesystem::path path_;
  mode_t mode_;  // of new files
};

/// "gpu-GPU-5c…", "gpu-declared-0"
[[nodiscard]] std::string gpu_lock_name(const Gpu& gpu);
/// "port-38001"
[[nodiscard]] std::string port_lock_name(std::uint16_t port);

}  // namespace ebb::devices
