// stop_at PID MOMENT…: holds a process at a chosen system call, from outside.
//
// Traces process PID (generation 0), what it forks (1), what that forks (2), and so on. When all MOMENTs have
// come, one after the other, the thread that made the last one is held there, and a line is printed:
//
//     armed                      tracing has begun
//     hit PID TID GENERATION     held; everything else goes on
//
// A line on standard input, or its end, lets everything go, untraced; signals that came meanwhile take effect
// then.

#include <poll.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tracees.h"

namespace {

using namespace ebb::faults;

constexpr auto kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                          PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;

struct Tracee {
  int generation = -1;   // not known before its parent's fork was seen
  bool stopped = false;  // at its first stop, which came before that was known
  bool fresh = true;     // has not run yet
  bool seized = false;   // found running; its tracing begins with its first stop
  bool thread = false;   // no process of its own
  Call call;
};

class Tracer {
 public:
  explicit Tracer(std::vector<Moment> moments) : moments_(std::move(moments)) {}

  bool seize(pid_t process, int generation) {
    for (const pid_t thread : threads_of(process)) {
      if (::ptrace(PTRACE_SEIZE, thread, nullptr, kOptions) != 0) {
        if (generation == 0) return false;
        continue;
      }
      tracees_[thread].generation = generation;
      tracees_[thread].fresh = false;
      tracees_[thread].seized = true;
      ++seizing_;
      ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    }
    for (const pid_t child : children_of(process)) (void)seize(child, generation + 1);
    return true;
  }

  void take_news() {
    int status = 0;
    for (pid_t thread = 0; (thread = ::waitpid(-1, &status, __WALL | WNOHANG)) > 0;) take(thread, status);
  }

  void let_go() {
    leaving_ = true;
    if (held_ != 0) leave(held_, 0);
    held_ = 0;
    for (const auto& [thread, tracee] : std::map(tracees_)) {
      if (tracee.stopped) {
        leave(thread, 0);
      } else if (::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0 && process_of(thread) == 0) {
        tracees_.erase(thread);
      }
    }
  }

  [[nodiscard]] bool empty() const { return tracees_.empty(); }

 private:
  void take(pid_t thread, int status) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      begun(tracees_[thread]);
      tracees_.erase(thread);
      if (held_ == thread) held_ = 0;
      return;
    }
    if (!WIFSTOPPED(status)) return;
    Tracee& tracee = tracees_[thread];
    begun(
        tracee);  // whatever its first stop is: an event that came first takes the place of the interruption
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
      know_child(thread, tracee.generation);
      return go_on(thread, 0);
    }
    if (event == PTRACE_EVENT_EXEC) return look(thread, tracee, "exec");
    if (event == PTRACE_EVENT_STOP) {
      if (tracee.fresh) return first_stop(thread, tracee);
      // A job-control stop lasts until SIGCONT; the end of tracing does not end it.
      if (signal != SIGTRAP && !leaving_) {
        ::ptrace(PTRACE_LISTEN, thread, nullptr, nullptr);
        return;
      }
      return go_on(thread, 0);
    }
    if (signal == (SIGTRAP | 0x80)) {
      take_call(thread, tracee);
      return look(thread, tracee, nullptr);
    }
    go_on(thread, signal);
  }

  void begun(Tracee& tracee) {
    if (!std::exchange(tracee.seized, false) || --seizing_ > 0) return;
    std::puts("armed");
    std::fflush(stdout);
  }

  void know_child(pid_t parent, int generation) {
    if (leaving_) return;  // its first stop is enough to let it go, or was already
    unsigned long number = 0;
    if (::ptrace(PTRACE_GETEVENTMSG, parent, nullptr, &number) != 0) return;
    const auto child = static_cast<pid_t>(number);
    if (process_of(child) == 0) return;  // killed meanwhile, and its end was seen first
    Tracee& tracee = tracees_[child];
    tracee.thread = process_of(child) == process_of(parent);
    tracee.generation = generation + (tracee.thread ? 0 : 1);
    if (tracee.stopped) first_stop(child, tracee);
  }

  void first_stop(pid_t thread, Tracee& tracee) {
    tracee.stopped = tracee.generation < 0;
    if (tracee.stopped && !leaving_) return;  // its parent's event tells what it is
    tracee.fresh = tracee.stopped = false;
    if (tracee.thread) return go_on(thread, 0);
    look(thread, tracee, "born");
  }

  void take_call(pid_t thread, Tracee& tracee) {
    __ptrace_syscall_info info{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0) return;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
      tracee.call = {};
      tracee.call.number = static_cast<long>(info.entry.nr);
      for (int i = 0; i < 6; ++i) tracee.call.arguments[i] = info.entry.args[i];
      tracee.call.path = path_of(thread, tracee.call);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
      tracee.call.result = info.exit.rval;
    }
  }

  // `event` names what happened where it is no system call.
  void look(pid_t thread, Tracee& tracee, const char* event) {
    if (held_ == 0 && !leaving_ && next_ < moments_.size()) {
      Moment& wanted = moments_[next_];
      const bool came = event != nullptr ? wanted.name == event && wanted.generation == tracee.generation
                                         : wanted.matches(thread, tracee.generation, tracee.call);
      if (came && --wanted.times == 0 && ++next_ == moments_.size()) {
        held_ = thread;
        std::printf("hit %d %d %d\n", process_of(thread), thread, tracee.generation);
        std::fflush(stdout);
        return;
      }
    }
    go_on(thread, 0);
  }

  void go_on(pid_t thread, int signal) {
    if (leaving_) return leave(thread, signal);
    const auto at = tracees_.find(thread);
    bool calls = false;
    for (std::size_t i = next_; i < moments_.size(); ++i) {
      calls = calls || (at != tracees_.end() && moments_[i].generation == at->second.generation &&
                        !moments_[i].is_event());
    }
    ::ptrace(calls ? PTRACE_SYSCALL : PTRACE_CONT, thread, nullptr, signal);
  }

  void leave(pid_t thread, int signal) {
    ::ptrace(PTRACE_DETACH, thread, nullptr, signal);
    tracees_.erase(thread);
  }

  std::vector<Moment> moments_;
  std::size_t next_ = 0;
  std::map<pid_t, Tracee> tracees_;
  pid_t held_ = 0;
  int seizing_ = 0;
  bool leaving_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: stop_at PID MOMENT…; see tests/faults/README.md\n");
    return 2;
  }
  std::vector<Moment> moments;
  for (int i = 2; i < argc; ++i) moments.push_back(Moment::parse(argv[i]));

  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  const int signals = ::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);

  Tracer tracer(std::move(moments));
  if (!tracer.seize(std::atoi(argv[1]), 0)) {
    std::perror("stop_at: cannot trace");
    return 1;
  }
  pollfd polls[2] = {{.fd = signals, .events = POLLIN, .revents = 0},
                     {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0}};
  bool leaving = false;
  while (!leaving || !tracer.empty()) {
    tracer.take_news();
    if (leaving && tracer.empty()) break;
    if (::poll(polls, leaving ? 1 : 2, leaving ? 1'000 : -1) == 0) break;  // the kernel lets go of the rest
    signalfd_siginfo info{};
    while (::read(signals, &info, sizeof info) > 0) {
    }
    if (!leaving && polls[1].revents != 0) {
      tracer.let_go();
      leaving = true;
    }
  }
  return 0;
}
