#pragma once

#include <map>
#include <memory>
#include <string>

#include "ebb/devices/locks.h"

namespace ebb::daemon {

/// A machine-wide lock that this daemon holds for an attempt. Its keeper holds the same open file
/// description.
struct HeldLock {
  devices::LockFile file;
  /// Verified free while this lock was held, and not leased since: the next attempt need not ask again.
  bool verified_free = false;
};

/// The locks that are held, by the file's path. An attempt that ends and the next one on the same device
/// share one lock, so that nobody can come in between.
class HeldLocks {
 public:
  /// Joins a lock that is held, else takes it.
  Result<std::shared_ptr<HeldLock>> take(const devices::LockDirectory& folder, const std::string& name) {
    std::weak_ptr<HeldLock>& known = held_[(folder.path() / name).string()];
    if (auto lock = known.lock()) return lock;
    auto file = folder.lock(name);
    if (!file) return std::move(file).error();
    auto lock = std::make_shared<HeldLock>(HeldLock{.file = std::move(*file)});
    known = lock;
    return lock;
  }
  /// Takes over what a keeper handed back; joins where another attempt has the same lock already.
  Result<std::shared_ptr<HeldLock>> adopt(const devices::LockDirectory& folder, const std::string& name,
                                          UniqueFd fd) {
    auto file = folder.adopt(name, std::move(fd));
    if (!file) return std::move(file).error();
    std::weak_ptr<HeldLock>& known = held_[(folder.path() / name).string()];
    if (auto lock = known.lock()) return lock;
    auto lock = std::make_shared<HeldLock>(HeldLock{.file = std::move(*file)});
    known = lock;
    return lock;
  }

 private:
  std::map<std::string, std::weak_ptr<HeldLock>> held_;
};

}  // namespace ebb::daemon
