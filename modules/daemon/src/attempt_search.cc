#include "attempt_search.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "attempt_processes.h"
#include "ebb/process/attempts_folder.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/keeper_lock.h"
#include "ebb/process/orphans.h"
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

std::string_view in_words(const Remains& remains) {
  struct Words {
    std::string_view operator()(const LivingKeeper&) const { return "taken over"; }
    std::string_view operator()(const ComingKeeper&) const { return "still starting"; }
    std::string_view operator()(const TreeEnded&) const { return "ended meanwhile"; }
    std::string_view operator()(const NeverBegan&) const { return "not begun after all"; }
    std::string_view operator()(const KeeperLost&) const { return "killed, since the keeper was dead"; }
  };
  return std::visit(Words{}, remains);
}

bool end_unknown(const Context& context, AttemptId id, Duration limit) {
  const BootTime deadline = BootClock::now() + limit;
  const std::filesystem::path folder = context.attempt_folder(id);
  const std::string group = AttemptProcesses(context, id).cgroup();
  (void)process::kill_keeper(folder.string());
  if (!group.empty()) {
    (void)process::kill_cgroup(group);
    auto events = process::CgroupEvents::open(group);
    if (events && !events->wait_empty(deadline)) return false;
  }
  process::Orphans orphans(process::attempt_marks(id));
  if (!orphans.end(deadline)) return false;
  remove_places(folder, context.scratch_folder(id), group);
  return true;
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
