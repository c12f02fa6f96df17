#include "leader.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "ebb/process/leader_note.h"

namespace ebb::process {
namespace {

constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

using Step = LeaderFailure::Step;

bool fail(LeaderFailure& failure, Step step) noexcept {
  failure.step = step;
  failure.error = errno;
  return false;
}

bool is_directory(const char* path) noexcept {
  struct stat info{};
  return ::stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

// The dispositions are the standard ones already, since the keeper's start.
void unblock_signals() noexcept {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool enter_group(int procs) noexcept { return procs < 0 || ::write(procs, "0", 1) == 1; }

bool set_limits(const LaunchSpec& spec, LeaderFailure& failure) noexcept {
  for (const ResourceLimit& wanted : spec.rlimits) {
    rlimit limit{};
    const auto resource = static_cast<__rlimit_resource>(wanted.resource);
    if (::getrlimit(resource, &limit) != 0) return fail(failure, Step::rlimit);
    limit.rlim_cur = wanted.soft < limit.rlim_max ? wanted.soft : limit.rlim_max;
    if (::setrlimit(resource, &limit) != 0) return fail(failure, Step::rlimit);
  }
  return true;
}

// By number, since glibc's wrappers tell other threads, of which this process has none and whose locks it
// must not take.
bool set_identity(const LaunchSpec& spec) noexcept {
  if (!spec.identity) return true;
  const Identity& who = *spec.identity;
  return ::syscall(SYS_setgroups, who.groups.size(), who.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, who.gid, who.gid, who.gid) == 0 &&
         ::syscall(SYS_setresuid, who.uid, who.uid, who.uid) == 0;
}

// execve() along PATH. errno and failure.path say what was the nearest miss.
void search_and_execute(const LeaderPlan& plan, LeaderFailure& failure) noexcept {
  const char* name = plan.argv[0];
  const std::size_t length = std::strlen(name);
  auto& path = failure.path;
  if (std::strchr(name, '/') != nullptr) {
    const std::size_t kept = std::min(length, path.size() - 1);
    std::memcpy(path.data(), name, kept);
    path[kept] = '\0';
    ::execve(name, plan.argv.data(), plan.envp.data());
    failure.is_directory = is_directory(name);
    return;
  }
  int nearest = ENOENT;
  std::size_t found = 0;  // length of the file name that was there but could not be executed
  std::array<char, 8192> candidate;
  for (const char* part = plan.path; part != nullptr;) {
    const char* end = std::strchr(part, ':');
    const std::size_t folder = end != nullptr ? static_cast<std::size_t>(end - part) : std::strlen(part);
    if (folder + length + 2 <= candidate.size()) {
      std::size_t at = 0;
      std::memcpy(candidate.data(), part, folder);
      at += folder;
      if (folder > 0) candidate[at++] = '/';  // an empty element is the current folder
      std::memcpy(candidate.data() + at, name, length + 1);
      ::execve(candidate.data(), plan.argv.data(), plan.envp.data());
      const int error = errno;
      const bool passes = error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG || error == ELOOP ||
                          is_directory(candidate.data());
      if (!passes && found == 0) {
        nearest = error;
        found = at + length;
        std::memcpy(path.data(), candidate.data(), found + 1);
        if (error != EACCES) break;
      }
    }
    part = end != nullptr ? end + 1 : nullptr;
  }
  errno = nearest;
}

std::string error_text(int error) { return std::strerror(error); }

StartFailure describe_exec(const LeaderFailure& failure, const LaunchSpec& spec) {
  const std::string path = failure.path.data();
  if (path.empty()) {
    std::string path_variable = kDefaultPath;
    for (const std::string& variable : spec.env) {
      if (variable.starts_with("PATH=")) path_variable = variable.substr(5);
    }
    return {.exit_code = 127,
            .message = "command not found: " + spec.argv[0] + " (PATH is " + path_variable + ")"};
  }
  if (failure.is_directory)
    return {.exit_code = 126, .message = "cannot execute " + path + ": it is a directory"};
  struct stat info{};
  const std::string full = path.starts_with('/') ? path : spec.workdir + "/" + path;
  switch (failure.error) {
    case ENOENT:
      if (::stat(full.c_str(), &info) == 0) {
        return {.exit_code = 126,
                .message = "cannot execute " + path + ": the interpreter in its first line does not exist"};
      }
      [[fallthrough]];
    case ENOTDIR:
      return {.exit_code = 127, .message = "command not found: " + path + " (in " + spec.workdir + ")"};
    case ENOEXEC:
      return {.exit_code = 126,
              .message = "cannot execute " + path + ": it is no program and has no #! line"};
    case E2BIG:
      return {
          .exit_code = 126,
          .message = "cannot execute " + path +
                     ": its arguments and environment are too large for the kernel (one argument may have "
                     "131071 bytes)"};
    default:
      return {.exit_code = 126, .message = "cannot execute " + path + ": " + error_text(failure.error)};
  }
}

}  // namespace

LeaderPlan::LeaderPlan(const LaunchSpec& launch)
    : spec(&launch), path(kDefaultPath), oom_score_adj(std::to_string(launch.oom_score_adj)) {
  argv.reserve(launch.argv.size() + 1);
  envp.reserve(launch.env.size() + 1);
  for (const std::string& argument : launch.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  for (const std::string& variable : launch.env) {
    if (variable.starts_with("PATH=")) path = variable.c_str() + 5;
    envp.push_back(const_cast<char*>(variable.c_str()));
  }
  argv.push_back(nullptr);
  envp.push_back(nullptr);
}

void run_leader(const LeaderPlan& plan, LeaderFailure& failure) noexcept {
  const LaunchSpec& spec = *plan.spec;
  unblock_signals();
  ::setsid();
  if (plan.note >= 0) write_leader_note(plan.note, ::getpid());
  if (!enter_group(plan.memory_group) || !enter_group(plan.process_group)) {
    fail(failure, Step::group);
    return;
  }
  const int score = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >=
      0) {  // without /proc, or where it is refused, the job is merely no likelier victim than others
    [[maybe_unused]] const ssize_t put = ::write(score, plan.oom_score_adj.data(), plan.oom_score_adj.size());
    ::close(score);
  }
  ::umask(spec.umask);
  if (spec.nice != 0 && ::setpriority(PRIO_PROCESS, 0, spec.nice) != 0) {
    fail(failure, Step::nice);
    return;
  }
  if (!set_limits(spec, failure)) return;
  if (::dup2(plan.out, STDOUT_FILENO) < 0 || ::dup2(plan.err, STDERR_FILENO) < 0 ||
      ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    fail(failure, Step::descriptors);
    return;
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (!set_identity(spec)) {
    fail(failure, Step::identity);
    return;
  }
  if (plan.die_with >= 0) {
    // Armed after the change of identity, which clears it; then a look whether the parent went before.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    pollfd parent{.fd = plan.die_with, .events = POLLIN, .revents = 0};
    if (::poll(&parent, 1, 0) != 0) {
      fail(failure, Step::parent);
      return;
    }
  }
  if (::chdir(spec.workdir.c_str()) != 0) {
    fail(failure, Step::workdir);
    return;
  }
  search_and_execute(plan, failure);
  fail(failure, Step::exec);
}

void forget_command(LaunchSpec& spec, LeaderPlan& plan) noexcept {
  constexpr std::size_t kWorthIt = 512;  // words; below, the heap has no page that it could give back
  const bool large = plan.argv.size() + plan.envp.size() > kWorthIt;
  spec.argv = {};
  spec.env = {};
  plan.argv = {};
  plan.envp = {};
  plan.path = nullptr;
  if (large) ::malloc_trim(0);
}

StartFailure describe(const LeaderFailure& failure, const LaunchSpec& spec) {
  const std::string why = error_text(failure.error);
  switch (failure.step) {
    case Step::exec:
      return describe_exec(failure, spec);
    case Step::workdir:
      return {.exit_code = 125, .message = "cannot enter the working directory " + spec.workdir + ": " + why};
    case Step::identity:
      return {.exit_code = 125,
              .message = "cannot become user " + std::to_string(spec.identity ? spec.identity->uid : 0) +
                         ": " + why};
    case Step::rlimit:
      return {.exit_code = 125, .message = "cannot set a resource limit: " + why};
    case Step::nice:
      return {.exit_code = 125,
              .message = "cannot set the nice value " + std::to_string(spec.nice) + ": " + why};
    case Step::group:
      return {.exit_code = 125, .message = "cannot enter the group that limits memory or processes: " + why};
    case Step::descriptors:
      return {.exit_code = 125, .message = "cannot connect the output: " + why};
    case Step::parent:
      return {.exit_code = 125, .message = "the keeper ended during the start"};
    case Step::none:
      break;
  }
  return {.exit_code = 125, .message = "the start failed: " + why};
}

}  // namespace ebb::process
