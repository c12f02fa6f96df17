#include "attempt_search.h"

#include <unistd.h>

namespace ebb::daemon {

Remains find_remains(const Context& context, AttemptId id, bool has_cgroup) {
  const std::string folder = context.attempt_folder(id).string();
  if (auto link = process::KeeperLink::connect(folder)) return LivingKeeper{std::move(*link)};
  if (auto record = process::read_end_record(folder); record && record->complete) {
    return TreeEnded{std::move(*record)};
  }
  if (!has_cgroup && ::access(folder.c_str(), F_OK) != 0) return NothingFound{};
  return KeeperLost{};
}

}  // namespace ebb::daemon
