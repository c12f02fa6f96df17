#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb::process {

// What /proc tells about a process. parse_*() take the file's text; read_*() the process, and fail with
// Errc::not_found where there is none, Errc::forbidden where it may not be looked at. A read by number says
// nothing about a process that took the number over meanwhile: hold a pidfd and see with pidfd_alive()
// afterwards that it was still that process.

/// /proc/PID/stat, as far as it is used.
struct ProcStat {
  pid_t pid = 0;
  std::string comm;  ///< at most 15 bytes, any byte, chosen by the process itself
  char state = '?';  ///< R S D Z T t X I
  pid_t ppid = 0;
  pid_t process_group = 0;
  pid_t session = 0;
  int nice = 0;
  int threads = 0;
  std::uint64_t start_time = 0;  ///< clock ticks after boot; with the boot id it makes a pid unique
  [[nodiscard]] bool gone() const noexcept { return state == 'Z' || state == 'X'; }
};

/// /proc/PID/status, as far as it is used.
struct ProcStatus {
  std::optional<mode_t> umask;
  uid_t uid = 0, effective_uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::vector<pid_t> namespace_pids;  ///< the pid in each nested PID namespace, the outermost first
};

/// One resource of /proc/PID/limits; RLIM_INFINITY is unlimited.
struct ProcLimit {
  int resource = 0;  ///< RLIMIT_…
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};

[[nodiscard]] Result<ProcStat> parse_proc_stat(std::string_view text);
[[nodiscard]] Result<ProcStatus> parse_proc_status(std::string_view text);
/// Resources that this program does not know are left out.
[[nodiscard]] Result<std::vector<ProcLimit>> parse_proc_limits(std::string_view text);
/// environ and cmdline: words that each end in NUL; the last one may lack it.
[[nodiscard]] std::vector<std::string_view> parse_nul_words(std::string_view text);
/// The cgroup v2 path of /proc/PID/cgroup ("0::/path"), also in a hybrid hierarchy; nothing without one.
[[nodiscard]] std::optional<std::string> parse_proc_cgroup(std::string_view text);
/// The value of NAME in parsed environment words.
[[nodiscard]] std::optional<std::string_view> environment_value(const std::vector<std::string_view>& words,
                                                                std::string_view name);

[[nodiscard]] Result<ProcStat> read_proc_stat(pid_t pid);
[[nodiscard]] Result<ProcStatus> read_proc_status(pid_t pid);
/// Any file of /proc/PID, by name, at most `limit` bytes (Errc::too_large).
[[nodiscard]] Result<std::string> read_proc_file(pid_t pid, const char* name, std::size_t limit = 1 << 20);
/// The target of a link of /proc/PID ("cwd", "exe").
[[nodiscard]] Result<std::string> read_proc_link(pid_t pid, const char* name);
/// Empty where the machine has no cgroup v2.
[[nodiscard]] Result<std::string> read_proc_cgroup(pid_t pid);
/// Every process that /proc shows now, ascending.
[[nodiscard]] Result<std::vector<pid_t>> list_pids();

[[nodiscard]] Result<UniqueFd> open_pidfd(pid_t pid);
/// Whether the process has not been reaped (a zombie still holds its number).
[[nodiscard]] bool pidfd_alive(int pidfd) noexcept;

/// Names one process over all time: its number alone would after a while name a stranger. Text form
/// "BOOT-ID:PID:START:CGROUP", on one line.
struct ProcessIdentity {
  std::string boot_id;
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  std::string cgroup;  ///< v2 path; empty: not looked at

  /// Of a process that lives now.
  [[nodiscard]] static Result<ProcessIdentity> of(pid_t pid);
  [[nodiscard]] static Result<ProcessIdentity> parse(std::string_view text);
  [[nodiscard]] std::string str() const;
  /// A pidfd of this very process, never of one that has its number now: Errc::not_found where it is gone,
  /// which includes another boot, another start time, another cgroup. The only way to signal a stored
  /// process.
  [[nodiscard]] Result<UniqueFd> open_if_same() const;
  bool operator==(const ProcessIdentity&) const = default;
};

}  // namespace ebb::process
