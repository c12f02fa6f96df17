#pragma once

#include <variant>

#include "context.h"
#include "ebb/base/ids.h"
#include "ebb/process/end_record.h"
#include "ebb/process/spawn.h"

namespace ebb::daemon {

// What start-up finds of an attempt of an earlier daemon of this boot.

/// Its keeper lives, and was greeted.
struct LivingKeeper {
  process::KeeperLink link;
};
/// Its keeper is gone and its tree too.
struct TreeEnded {
  process::EndRecord record;
};
/// Nothing of it ever came to life.
struct NothingFound {};
/// Its keeper is gone without having said how the tree ended.
struct KeeperLost {};

using Remains = std::variant<LivingKeeper, TreeEnded, NothingFound, KeeperLost>;
[[nodiscard]] Remains find_remains(const Context& context, AttemptId id, bool has_cgroup);

}  // namespace ebb::daemon
