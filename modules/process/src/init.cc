#include "init.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include "clone3.h"
#include "ebb/base/files.h"
#include "mounts.h"

namespace ebb::process {
namespace {

void send_report(int channel, const InitReport& report, std::string_view text,
                 pid_t credentials_of) noexcept {
  std::array<iovec, 2> parts{{{.iov_base = const_cast<InitReport*>(&report), .iov_len = sizeof report},
                              {.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()}}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (credentials_of > 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_CREDENTIALS;
    header->cmsg_len = CMSG_LEN(sizeof(ucred));
    const ucred who{.pid = credentials_of, .uid = ::geteuid(), .gid = ::getegid()};
    std::memcpy(CMSG_DATA(header), &who, sizeof who);
  }
  while (::sendmsg(channel, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

bool ready(int fd) noexcept {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) > 0;
}

// Everything that the keeper holds (locks, its socket, its end of the pipes) stays with the keeper alone.
void keep_only(std::array<int, 6> wanted) noexcept {
  std::sort(wanted.begin(), wanted.end());
  unsigned from = 3;
  for (const int fd : wanted) {
    if (fd < 3) continue;
    const auto number = static_cast<unsigned>(fd);
    if (number > from) ::close_range(from, number - 1, 0);
    from = number + 1;
  }
  ::close_range(from, ~0U, 0);
}

Result<void> prepare(const InitPlan& plan) {
  for (int* group : {&plan.leader->memory_group, &plan.leader->process_group}) {
    // The init enters before the leader exists, so that nothing of the tree is ever outside.
    if (*group >= 0 && ::write(*group, "0", 1) != 1)
      return errno_error(errno, "cannot enter the limiting group");
    *group = -1;
  }
  if (auto prepared = prepare_namespaces(*plan.spec, plan.uid, plan.gid); !prepared) return prepared;
  const Limit& processes = plan.spec->processes;
  if (processes.value > 0 && processes.mechanism == LimitMechanism::pid_max) {
    return write_text("/proc/sys/kernel/pid_max", std::to_string(processes.value));
  }
  return {};
}

struct LeaderStart {
  const LeaderPlan* plan;
  LeaderFailure failure;
};

int leader_body(void* argument) {
  auto& start = *static_cast<LeaderStart*>(argument);
  run_leader(*start.plan, start.failure);
  return 125;
}

std::uint32_t count_processes() noexcept {
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return 0;
  std::uint32_t count = 0;
  while (const dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') ++count;
  }
  ::closedir(proc);
  return count > 0 ? count - 1 : 0;  // not this one
}

bool others_left() noexcept { return ::kill(-1, 0) == 0; }

// Reaps all there is to reap; says when the leader was among them. Ends the init with the last process.
void reap(const InitPlan& plan, pid_t& leader) noexcept {
  int status = 0;
  std::optional<int> leader_status;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG | __WALL)) > 0;) {
    if (pid == leader) leader_status = status;
  }
  if (leader_status) leader = 0;
  if (leader != 0) return;
  const bool others = others_left();  // looks at every process of the machine
  if (leader_status) {
    const std::uint32_t left = others ? std::max(1U, count_processes()) : 0;
    send_report(plan.channel, {.kind = InitNews::leader_exited, .value = *leader_status, .count = left}, {},
                0);
  }
  if (!others) ::_exit(0);
}

void terminate_all(const InitPlan& plan) noexcept {
  const std::uint32_t count = count_processes();
  ::kill(-1, SIGTERM);
  ::kill(-1, SIGCONT);
  send_report(plan.channel, {.kind = InitNews::signalled, .value = 0, .count = count}, {}, 0);
}

int serve(const InitPlan& plan, pid_t leader) noexcept {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  const UniqueFd signals(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  std::array<pollfd, 3> entries{{{.fd = signals.get(), .events = POLLIN, .revents = 0},
                                 {.fd = plan.keeper, .events = POLLIN, .revents = 0},
                                 {.fd = plan.channel, .events = POLLIN, .revents = 0}}};
  for (;;) {
    reap(plan, leader);
    if (::poll(entries.data(), entries.size(), -1) < 0) continue;
    if (entries[1].revents != 0) return 1;  // the keeper died: so does the namespace
    if (entries[0].revents != 0) {
      signalfd_siginfo info{};
      while (::read(signals.get(), &info, sizeof info) > 0) {
      }
    }
    if (entries[2].revents != 0) {
      char command = 0;
      if (::recv(plan.channel, &command, 1, MSG_DONTWAIT) == 0) return 1;
      if (command == kInitTerminate) terminate_all(plan);
    }
  }
}

}  // namespace

void report_failure(int channel, const StartFailure& failure) noexcept {
  const std::string_view text = failure.message;
  send_report(channel, {.kind = InitNews::start_failed, .value = failure.exit_code, .count = 0},
              text.substr(0, EndRecord::kMaxText), 0);
}

int init_main(void* argument) noexcept {
  const InitPlan& plan = *static_cast<InitPlan*>(argument);
  // In a new PID namespace getppid() is 0 with a living parent and with a dead one, so only the keeper's
  // pidfd tells whether it died before this took effect. The init changes no credentials, which would clear
  // it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (ready(plan.keeper)) return 1;
  ::prctl(PR_SET_NAME, "ebb-init", 0, 0, 0);
  keep_only({plan.channel, plan.keeper, plan.leader->out, plan.leader->err, plan.leader->memory_group,
             plan.leader->process_group});
  if (auto prepared = prepare(plan); !prepared) {
    report_failure(plan.channel, {.exit_code = 125, .message = "containment: " + prepared.error().message});
    return 1;
  }
  LeaderStart start{.plan = plan.leader, .failure = {}};
  alignas(16) std::array<char, 64 << 10> stack;
  const pid_t leader = clone_child({.flags = CLONE_VM | CLONE_VFORK, .cgroup = -1, .pidfd = nullptr},
                                   stack.data(), stack.size(), leader_body, &start);
  if (leader < 0) {
    report_failure(
        plan.channel,
        {.exit_code = 125, .message = std::string("cannot start a process: ") + std::strerror(-leader)});
    return 1;
  }
  if (start.failure.step != LeaderFailure::Step::none) {
    report_failure(plan.channel, describe(start.failure, *plan.leader->spec));
    return 1;
  }
  send_report(plan.channel, {.kind = InitNews::started, .value = 0, .count = 0}, {}, leader);
  ::close(plan.leader->out);
  ::close(plan.leader->err);
  forget_command(*plan.spec, *plan.leader);
  return serve(plan, leader);
}

}  // namespace ebb::process
