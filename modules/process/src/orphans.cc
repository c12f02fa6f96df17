#include "ebb/process/orphans.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "descendants.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

constexpr int kMostSweeps = 64;

// The limit that marks an attempt: a word of our own, the job, the number. Below 2^62.
constexpr int kNumberBits = 18, kJobBits = 32;
constexpr std::uint64_t kOurs = 0xebb;

std::optional<std::uint64_t> limit_on_locks(std::string_view text) {
  const auto limits = parse_proc_limits(text);
  if (!limits) return std::nullopt;
  for (const ProcLimit& one : *limits) {
    if (one.resource == RLIMIT_LOCKS) return one.soft;
  }
  return std::nullopt;
}

bool marked_by_limit(pid_t pid, const Marks& marks) {
  if (marks.limit == 0) return false;
  const auto limits = read_proc_file(pid, "limits");
  return limits && limit_on_locks(*limits) == marks.limit;
}

bool marked(pid_t pid, const Marks& marks) {
  const auto text = read_proc_file(pid, "environ", 16 << 20);
  if (!text) return false;
  const auto words = parse_nul_words(*text);
  const bool all = std::all_of(
      marks.environment.begin(), marks.environment.end(),
      [&](const std::string& mark) { return std::find(words.begin(), words.end(), mark) != words.end(); });
  return all || marked_by_limit(pid, marks);
}

void send(int pidfd, int signal) noexcept { ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }

// Of this very process; nothing where it is gone, or another has its number.
std::optional<UniqueFd> open_same(pid_t pid, std::uint64_t start_time) {
  auto pidfd = open_pidfd(pid);
  if (!pidfd) return std::nullopt;
  const auto stat = read_proc_stat(pid);
  if (!stat || stat->gone() || stat->start_time != start_time || !pidfd_alive(pidfd->get())) {
    return std::nullopt;
  }
  return std::move(*pidfd);
}

}  // namespace

Marks attempt_marks(AttemptId attempt) {
  Marks marks{
      .environment = {"EBB_JOB_ID=" + attempt.job.str(), "EBB_ATTEMPT=" + std::to_string(attempt.number)}};
  if (attempt.number < (1U << kNumberBits)) {
    marks.limit = (((kOurs << kJobBits) | attempt.job.value()) << kNumberBits) | attempt.number;
  }
  return marks;
}

std::optional<AttemptId> attempt_of_limits(std::string_view limits) {
  const auto limit = limit_on_locks(limits);
  if (!limit || *limit >> (kJobBits + kNumberBits) != kOurs) return std::nullopt;
  const auto job = static_cast<std::uint32_t>(*limit >> kNumberBits);
  return AttemptId{.job = JobId(job),
                   .number = static_cast<std::uint32_t>(*limit) & ((1U << kNumberBits) - 1)};
}

std::vector<Orphans::Found> Orphans::look() const {
  std::map<pid_t, Found> found;
  std::set<pid_t> sessions;
  const auto pids = list_pids();
  if (!pids || marks_.environment.empty()) return {};
  const pid_t self = ::getpid();
  for (const pid_t pid : *pids) {
    // Read first: what took the number over meanwhile is then never believed.
    auto stat = read_proc_stat(pid);
    if (!stat || stat->gone() || pid == self || !marked(pid, marks_)) continue;
    sessions.insert(stat->session);
    found.emplace(pid, Found{{.pid = pid, .comm = std::move(stat->comm)}, stat->start_time});
  }
  sessions.erase(0);
  sessions.erase(::getsid(0));
  for (const Descendant& process : descendants()) {
    const auto stat = read_proc_stat(process.pid);
    if (!stat || stat->gone() || !sessions.contains(stat->session)) continue;
    found.emplace(process.pid, Found{{.pid = process.pid, .comm = process.comm}, stat->start_time});
  }
  std::vector<Found> all;
  all.reserve(found.size());
  for (auto& [pid, one] : found) all.push_back(std::move(one));
  return all;
}

std::vector<Survivor> Orphans::find() const {
  std::vector<Survivor> processes;
  for (Found& found : look()) processes.push_back(std::move(found.process));
  return processes;
}

bool Orphans::sweep() {
  // What is killed in the middle of a fork leaves a child that this look may not see: its number is new. A
  // later look does, when its parent has gone by then.
  reap();
  const bool all_gone = killed_.empty();
  std::size_t known = 0;
  std::vector<Found> found = look();
  const bool none = found.empty();
  for (int pass = 0; pass < kMostSweeps && found.size() > known; ++pass) {
    known = found.size();
    for (const Found& one : found) {
      if (const auto pidfd = open_same(one.process.pid, one.start_time)) send(pidfd->get(), SIGSTOP);
    }
    found = look();
  }
  for (const Found& one : found) {
    auto pidfd = open_same(one.process.pid, one.start_time);
    if (!pidfd) continue;
    send(pidfd->get(), SIGKILL);
    killed_.insert_or_assign(one.process.pid, std::move(*pidfd));
  }
  reap();
  if (!all_gone || !none) return false;
  reap_ended();
  return true;
}

bool Orphans::end(BootTime deadline) {
  while (!sweep()) {
    if (BootClock::now() >= deadline) return false;
    std::vector<pollfd> dying;
    dying.reserve(killed_.size());
    for (const auto& [pid, pidfd] : killed_)
      dying.push_back({.fd = pidfd.get(), .events = POLLIN, .revents = 0});
    constexpr int kLookAgainMs = 5;  // one that is not ours to kill is found by looking only
    if (!dying.empty()) ::poll(dying.data(), dying.size(), kLookAgainMs);
  }
  return true;
}

void Orphans::reap_leader() {
  if (leader_ == 0) return;
  const auto stat = read_proc_stat(leader_);
  // A child of ours that leads a session is a job's: whatever else has this number, we did not start it so.
  if (stat && !stat->gone()) return;
  siginfo_t info{};
  if (stat && stat->ppid == ::getpid() && stat->session == leader_) {
    ::waitid(P_PID, static_cast<id_t>(leader_), &info, WEXITED | WNOHANG);
  }
  leader_ = 0;
}

// Whose end no look foresaw. A zombie has no environment any more, but still its limits.
void Orphans::reap_ended() const {
  const auto pids = list_pids();
  if (!pids || marks_.limit == 0) return;
  for (const pid_t pid : *pids) {
    const auto stat = read_proc_stat(pid);
    if (!stat || !stat->gone() || stat->ppid != ::getpid() || !marked_by_limit(pid, marks_)) continue;
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG);
  }
}

void Orphans::reap() {
  reap_leader();
  const pid_t self = ::getpid();
  std::erase_if(killed_, [&](const auto& entry) {
    siginfo_t info{};
    const UniqueFd& pidfd = entry.second;
    if (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG) == 0) {
      return info.si_pid != 0;
    }
    const auto stat = read_proc_stat(entry.first);
    if (!stat || !pidfd_alive(pidfd.get())) return true;
    // Somebody else's to reap, and no longer able to do anything; but one whose parent is dying too is about
    // to come to us.
    return stat->gone() && stat->ppid != self && !killed_.contains(stat->ppid);
  });
}

}  // namespace ebb::process
