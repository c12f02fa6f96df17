#include "ebb/process/census.h"

#include <unistd.h>

#include <algorithm>

#include "census_detail.h"
#include "ebb/base/clock.h"
#include "ebb/base/text.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/orphans.h"

namespace ebb::process {
namespace {

// execve(2) takes no environment larger than this by default.
constexpr std::size_t kLargestEnviron = 8 << 20;
constexpr int kDeepest = 4096;

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::optional<AttemptId> marked_attempt(const std::vector<std::string_view>& environment) {
  const auto job = environment_value(environment, "EBB_JOB_ID"),
             attempt = environment_value(environment, "EBB_ATTEMPT");
  if (!job || !attempt) return std::nullopt;
  return AttemptId::parse(std::string(*job) + "." + std::string(*attempt));
}

ProcessTable::Row read_row(ProcStat stat, std::size_t& closed) {
  ProcessTable::Row row;
  row.stat = std::move(stat);
  const pid_t pid = row.stat.pid;
  if (auto cgroup = read_proc_cgroup(pid)) row.cgroup = *std::move(cgroup);
  if (const auto text = read_proc_file(pid, "environ", kLargestEnviron)) {
    const auto environment = parse_nul_words(*text);
    row.marked = marked_attempt(environment);
    row.server = environment_value(environment, "EBB_SERVER").value_or("");
    if (const auto limits = read_proc_file(pid, "limits"); limits && !row.marked)
      row.marked = attempt_of_limits(*limits);
  } else if (text.error().code == Errc::forbidden && pid != kFirstProcess) {
    ++closed;
  }
  if (row.stat.comm == "ebb-keeper") {
    if (const auto text = read_proc_file(pid, "cmdline")) {
      const auto words = parse_nul_words(*text);
      if (words.size() >= 2 && base_name(words[0]) == "ebb-keeper") row.keeper_label = words[1];
    }
  }
  return row;
}

// The keeper that `pid` descends from, itself included; 0 where there is none.
pid_t keeper_above(const ProcessTable& table, pid_t pid) {
  for (int depth = 0; depth < kDeepest; ++depth) {
    const auto at = table.rows.find(pid);
    if (at == table.rows.end()) return 0;
    if (at->second.keeper) return pid;
    pid = at->second.stat.ppid;
  }
  return 0;
}

CensusProcess describe_row(const ProcessTable::Row& row) {
  CensusProcess process;
  process.identity = {
      .boot_id = boot_id(), .pid = row.stat.pid, .start_time = row.stat.start_time, .cgroup = row.cgroup};
  process.ppid = row.stat.ppid;
  process.comm = printable(row.stat.comm);
  process.zombie = row.stat.gone();
  process.keeper = row.keeper;
  process.label = printable(row.keeper_label);
  process.server = row.server;
  if (const auto status = read_proc_status(row.stat.pid)) process.uid = status->uid;
  return process;
}

// A keeper belongs below the daemon or client that started it; these are whom it falls to otherwise.
bool is_orphan(const ProcessTable& table, pid_t ppid) {
  const auto parent = table.rows.find(ppid);
  if (parent == table.rows.end() || parent->second.stat.comm.starts_with("ebb")) return false;
  return ppid == 1 || parent->second.stat.comm == "systemd";
}

}  // namespace

std::string unseen_of(const char* what, std::size_t processes) {
  const std::string text = "the " + std::string(what) + " of ";
  // Root is refused only by what runs in a user namespace that is not below ours, or is just ending.
  if (::geteuid() == 0) {
    return text + (processes == 1 ? "1 process" : std::to_string(processes) + " processes") +
           " that even root may not look at";
  }
  return text + (processes == 1 ? "1 process of another user; root sees it"
                                : std::to_string(processes) + " processes of other users; root sees them");
}

ProcessTable read_process_table() {
  ProcessTable table;
  const auto pids = list_pids();
  if (!pids) return table;
  for (const pid_t pid : *pids) {
    // The start time is read first: what is read later, of a process that took the number over meanwhile, is
    // then never believed, because the identity names one that is gone.
    if (auto stat = read_proc_stat(pid)) table.rows.emplace(pid, read_row(*std::move(stat), table.closed));
  }
  for (auto& [pid, row] : table.rows) {
    if (row.keeper_label.empty()) continue;
    const auto parent = table.rows.find(row.stat.ppid);
    // A keeper's init and leader are forked from it and look like it until they execute something.
    row.keeper = parent == table.rows.end() || parent->second.keeper_label != row.keeper_label;
  }
  return table;
}

std::optional<CgroupName> attempt_of_cgroup(std::string_view path, std::string_view base) {
  std::optional<CgroupName> found;
  const auto names = split(path, '/');
  for (std::size_t i = 1; i < names.size(); ++i) {
    if (!names[i - 1].starts_with("ebb-")) continue;
    const auto attempt = AttemptId::parse(names[i]);
    if (attempt && (!found || !found->ours))
      found = CgroupName{.attempt = *attempt, .ours = names[i - 1] == base};
  }
  return found;
}

void find_processes(const ProcessTable& table, Census& census) {
  const std::string base = cgroup_base_name(census.places.state_dir);
  std::map<pid_t, CensusProcess> found;
  for (const auto& [pid, row] : table.rows) {
    const auto by_cgroup = attempt_of_cgroup(row.cgroup, base);
    if (!by_cgroup && !row.marked && !row.keeper) continue;
    CensusProcess process = describe_row(row);
    process.evidence.cgroup = by_cgroup.has_value();
    process.evidence.environment = row.marked.has_value();
    process.ours = by_cgroup && by_cgroup->ours;
    if (row.keeper) {
      process.orphan = is_orphan(table, row.stat.ppid);
      process.attempt = AttemptId::parse(row.keeper_label);
    } else {
      process.attempt = by_cgroup ? by_cgroup->attempt : *row.marked;
    }
    found.emplace(pid, std::move(process));
  }
  for (const auto& [pid, row] : table.rows) {
    const pid_t keeper = row.keeper ? 0 : keeper_above(table, pid);
    const auto above = found.find(keeper);
    if (above == found.end() || !above->second.attempt) continue;
    auto at = found.find(pid);
    if (at == found.end()) {
      at = found.emplace(pid, describe_row(row)).first;
      at->second.attempt = above->second.attempt;
    }
    at->second.evidence.ancestry = at->second.attempt == above->second.attempt;
  }
  // Sessions: a job begins one, and only a call of its own leaves it.
  std::map<pid_t, AttemptId> sessions;
  for (const auto& [pid, process] : found) {
    const pid_t session = table.rows.at(pid).stat.session;
    if (process.keeper || !process.attempt || session <= 0) continue;
    const auto leader = found.find(session);
    const bool job_leads =
        leader != found.end() && !leader->second.keeper && leader->second.attempt == process.attempt;
    if (job_leads || !table.rows.contains(session)) sessions.emplace(session, *process.attempt);
  }
  for (const auto& [pid, row] : table.rows) {
    const auto session = sessions.find(row.stat.session);
    if (session == sessions.end() || row.keeper) continue;
    auto at = found.find(pid);
    if (at == found.end()) {
      at = found.emplace(pid, describe_row(row)).first;
      at->second.attempt = session->second;
    }
    at->second.evidence.session = at->second.attempt == session->second;
  }
  std::set<AttemptId> ours;
  for (const CensusAttempt& attempt : census.attempts) ours.insert(attempt.attempt);
  for (const auto& [pid, process] : found) {
    const bool told = !census.places.server.empty() && process.server == census.places.server;
    if (process.attempt && (process.ours || told)) ours.insert(*process.attempt);
  }
  for (auto& [pid, process] : found) {
    process.ours = process.attempt && ours.contains(*process.attempt);
    census.processes.push_back(std::move(process));
  }
}

Census take_census(const CensusPlaces& places) {
  Census census;
  census.places = places;
  if (census.places.attempts.empty() && !places.state_dir.empty()) {
    census.places.attempts = places.state_dir + "/attempts";
    std::error_code error;  // mounts and descriptors show the real name
    if (auto real = std::filesystem::canonical(census.places.attempts, error); !error)
      census.places.attempts = real.string();
  }
  find_folders(census);
  const ProcessTable table = read_process_table();
  if (table.closed > 0) census.unseen.push_back(unseen_of("environment", table.closed));
  find_processes(table, census);
  find_cgroups(census);
  find_held(table, census);
  if (auto ipc = list_ipc()) {
    census.ipc = *std::move(ipc);
  } else {
    census.unseen.push_back(ipc.error().message);
  }
  return census;
}

}  // namespace ebb::process
