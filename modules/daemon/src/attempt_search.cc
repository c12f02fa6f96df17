#include "attempt_search.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "ebb/process/attempts_folder.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/keeper_lock.h"
#include "ebb/process/scratch.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRemovalLimit = 5s;

}  // namespace

Remains find_remains(const Context& context, AttemptId id) {
  const std::string folder = context.attempt_folder(id).string();
  // Asked before the socket is looked for: when no keeper is there to come, what is seen afterwards is final.
  const bool lives = process::keeper_lives(folder);
  auto link = process::KeeperLink::connect(folder);
  if (link) return LivingKeeper{std::move(*link)};
  const bool never_had_one = link.error().code == Errc::not_found;
  if (never_had_one && lives) return ComingKeeper{};
  if (auto record = process::read_end_record(folder); record && record->complete) {
    return TreeEnded{std::move(*record)};
  }
  // The socket is made before anything of the job is executed.
  if (never_had_one) return NeverBegan{};
  return KeeperLost{};
}

std::optional<WallTime> places_made_at(const Context& context, AttemptId id) {
  struct statx folder{};
  if (::statx(AT_FDCWD, context.attempt_folder(id).c_str(), AT_SYMLINK_NOFOLLOW, STATX_BTIME, &folder) != 0 ||
      (folder.stx_mask & STATX_BTIME) == 0) {
    return std::nullopt;
  }
  return WallTime(std::chrono::seconds(folder.stx_btime.tv_sec) +
                  std::chrono::microseconds(folder.stx_btime.tv_nsec / 1000));
}

void remove_places(const std::filesystem::path& folder, const std::filesystem::path& scratch,
                   const std::string& cgroup) {
  if (!cgroup.empty()) (void)process::remove_cgroup(cgroup, BootClock::now() + kRemovalLimit);
  (void)process::remove_tree(scratch, BootClock::now() + kRemovalLimit, nullptr);
  process::remove_attempt_folder(folder);
}

}  // namespace ebb::daemon
