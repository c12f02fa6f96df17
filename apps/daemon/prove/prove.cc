#include "prove.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <optional>

#include "ebb/base/files.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/proc.h"
#include "play.h"
#include "program.h"

// The cases are played by a process of its own. This one attends to it, and when it has gone, however that
// was, to all that it left.
namespace ebb::cli {
namespace {

using namespace std::chrono_literals;

constexpr const char* kFolderPrefix = "ebb-prove-";

sigset_t signals_to_wait_for() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, number);
  return set;
}

// Reaps whoever has ended. What the worker's programs leave comes to us, as to a subreaper, and is told to
// end by their going.
class Reaper {
 public:
  explicit Reaper(pid_t worker) : worker_(worker) { reap(); }
  void reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid == worker_) worker_status_ = status;
    }
    nobody_left_ = pid < 0;
  }
  [[nodiscard]] const std::optional<int>& worker_status() const { return worker_status_; }
  [[nodiscard]] bool nobody_left() const { return nobody_left_; }

 private:
  pid_t worker_;
  std::optional<int> worker_status_;
  bool nobody_left_ = false;
};

// Until the next of the signals, or the deadline; its number, or 0.
int next_signal(const UniqueFd& signals, BootTime deadline) {
  if (!wait_readable(signals.get(), deadline)) return 0;
  signalfd_siginfo info{};
  return ::read(signals.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

// All that are left at the end: the worker's, which it did not end itself.
void signal_children(int number) {
  const auto pids = process::list_pids();
  if (!pids) return;
  for (const pid_t pid : *pids) {
    const auto stat = process::read_proc_stat(pid);
    if (stat && stat->ppid == ::getpid()) ::kill(pid, number);
  }
}

// A daemon leaves its empty base groups to the next one.
void remove_groups(const std::filesystem::path& folder) {
  const auto mounts = process::find_cgroup_mounts();
  if (!mounts) return;
  const std::string base = process::cgroup_base_name((folder / "state").string());
  for (const auto& hierarchy : {mounts->unified, mounts->memory_v1, mounts->pids_v1}) {
    if (!hierarchy) continue;
    (void)process::remove_cgroup(hierarchy->mount + hierarchy->own + "/" + base, BootClock::now() + 1s);
  }
}

// Those of this user's runs that were killed: nobody holds their lock.
void remove_stale(const std::filesystem::path& parent) {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(parent, failure)) {
    if (!entry.path().filename().string().starts_with(kFolderPrefix)) continue;
    const auto folder = open_file(entry.path(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    struct stat info{};
    if (!folder || ::fstat(folder->get(), &info) != 0 || info.st_uid != ::geteuid()) continue;
    if (::flock(folder->get(), LOCK_EX | LOCK_NB) != 0) continue;
    remove_groups(entry.path());
    std::filesystem::remove_all(entry.path(), failure);
  }
}

// Waits for the worker and for all that comes from it; what the worker returned, or minus the signal that
// came.
std::optional<int> attend(pid_t worker, const UniqueFd& signals) {
  Reaper reaper(worker);
  int signal = 0;
  while (!reaper.worker_status() && signal == 0) {
    if (const int next = next_signal(signals, BootTime::max()); next != SIGCHLD) signal = next;
    reaper.reap();
  }
  if (signal != 0) ::kill(worker, SIGKILL);
  for (const int last_word : {SIGTERM, SIGKILL}) {
    if (!reaper.nobody_left()) signal_children(last_word);
    const BootTime deadline = BootClock::now() + 15s;
    while (!reaper.nobody_left() && BootClock::now() < deadline) {
      (void)next_signal(signals, deadline);
      reaper.reap();
    }
  }
  if (!reaper.nobody_left()) return std::nullopt;
  if (signal != 0) return -signal;
  const int status = *reaper.worker_status();
  return WIFEXITED(status) ? WEXITSTATUS(status) : kRefused;
}

}  // namespace

int prove(bool json) {
  std::error_code failure;
  const auto parent = std::filesystem::temp_directory_path(failure);
  if (!failure) remove_stale(parent);
  std::string folder = (parent / (std::string(kFolderPrefix) + "XXXXXX")).string();
  if (failure || ::mkdtemp(folder.data()) == nullptr)
    return fail(errno_error(errno, "cannot make a folder in the place for temporary files"));
  const auto lock = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!lock || ::flock(lock->get(), LOCK_EX | LOCK_NB) != 0)
    return fail(errno_error(errno, "cannot lock " + folder));

  const sigset_t set = signals_to_wait_for();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &set, &before);
  const UniqueFd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t self = ::getpid();
  const pid_t worker = ::fork();
  if (worker < 0) return fail(errno_error(errno, "cannot start a process"));
  if (worker == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (::getppid() != self) std::_Exit(kRefused);
    std::exit(play_all(folder, json));
  }
  const auto result = attend(worker, signals);
  remove_groups(folder);
  std::filesystem::remove_all(folder, failure);
  if (!result) return say("processes of it are left; 'ebb audit' may name them"), kRefused;
  if (failure) return say("could not remove " + folder + ": " + failure.message()), kRefused;
  if (*result >= 0) return *result;
  ::signal(-*result, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::raise(-*result);
  return kRefused;
}

}  // namespace ebb::cli
