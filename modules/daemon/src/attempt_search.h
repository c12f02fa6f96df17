#pragma once

#include <optional>
#include <string_view>
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
/// Its keeper was started but has not made its socket yet: it may still come up, and run the job.
struct ComingKeeper {};
/// Its keeper is gone and its tree too.
struct TreeEnded {
  process::EndRecord record;
};
/// Nothing of the job was ever executed, and nothing will be; there may be places that were made for it.
struct NeverBegan {};
/// Its keeper is gone without having said how the tree ended.
struct KeeperLost {};

using Remains = std::variant<LivingKeeper, ComingKeeper, TreeEnded, NeverBegan, KeeperLost>;
[[nodiscard]] Remains find_remains(const Context& context, AttemptId id);

/// What became of it thereby, for people.
[[nodiscard]] std::string_view in_words(const Remains& remains);

/// Ends at once what is there of an attempt that the journal does not know, and removes its places: nobody
/// could release it otherwise. Blocks for as long as that takes, `limit` at most; false where something of it
/// is left.
[[nodiscard]] bool end_unknown(const Context& context, AttemptId id, Duration limit);

/// When the attempt's folder was made, before anything of it was executed; nothing where the file system does
/// not know.
[[nodiscard]] std::optional<WallTime> places_made_at(const Context& context, AttemptId id);

/// Removes what an attempt that never began has of places: its cgroup, folder and scratch, so that they can
/// be made anew. May block: for a thread that may.
void remove_places(const std::filesystem::path& folder, const std::filesystem::path& scratch,
                   const std::string& cgroup);

}  // namespace ebb::daemon
