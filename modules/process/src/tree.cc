#include "tree.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

#include "clone3.h"
#include "codec.h"
#include "descendants.h"
#include "ebb/base/files.h"
#include "ebb/process/proc.h"

namespace ebb::process {
namespace {

constexpr Duration kFreezeTime = std::chrono::milliseconds(50);
constexpr int kMostSweeps = 64;

void signal_pidfd(int pidfd, int signal) noexcept {
  ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
}

// Makes a v1 group with its limit and opens the file by which a process enters it.
Result<UniqueFd> make_v1_group(const Limit& limit, const char* file, const char* swap_file) {
  const std::string base = limit.cgroup1.substr(0, limit.cgroup1.rfind('/'));
  if (auto made = make_cgroup(base); !made && made.error().code != Errc::conflict)
    return std::move(made).error();
  if (auto made = make_cgroup(limit.cgroup1); !made) return std::move(made).error();
  const std::string value = std::to_string(limit.value);
  Result<UniqueFd> procs = open_file(limit.cgroup1 + "/cgroup.procs", O_WRONLY);
  if (auto set = write_cgroup(limit.cgroup1, file, value); !set) procs = std::move(set).error();
  if (!procs) ::rmdir(limit.cgroup1.c_str());
  // Without swap accounting the file is not there; the limit then holds for memory without swap.
  if (swap_file != nullptr) static_cast<void>(write_cgroup(limit.cgroup1, swap_file, value).ok());
  return procs;
}

bool oom_counted(const std::string& file) {
  const auto text = read_file(file, 4096);
  if (!text) return false;
  const std::size_t at = text->find("oom_kill ");
  return at != std::string::npos && at + 9 < text->size() && (*text)[at + 9] != '0';
}

// The leader by itself, where no namespace needs an init: its descriptor closes when it executes.
struct PlainStart {
  const LeaderPlan* plan;
  int channel;
};

int plain_body(void* argument) {
  const auto& start = *static_cast<PlainStart*>(argument);
  LeaderFailure failure;
  run_leader(*start.plan, failure);
  report_failure(start.channel, describe(failure, *start.plan->spec));
  return 125;
}

std::string link_target(const std::string& path) {
  std::array<char, 64> text;
  const ssize_t length = ::readlink(path.c_str(), text.data(), text.size());
  return length > 0 ? std::string(text.data(), static_cast<std::size_t>(length)) : std::string();
}

}  // namespace

Result<void> Tree::make_groups() {
  const auto by_cgroup2 = [](const Limit& limit) {
    return limit.value > 0 && limit.mechanism == LimitMechanism::cgroup2;
  };
  // Each level hands its controllers down by itself; the attempt's own group holds no process, so it may.
  for (const auto& [limit, controller] :
       {std::pair(&spec_.memory, "+memory"), std::pair(&spec_.processes, "+pids")}) {
    if (!by_cgroup2(*limit)) continue;
    if (auto set = write_cgroup(spec_.cgroup, "cgroup.subtree_control", controller); !set) return set;
  }
  if (by_cgroup2(spec_.memory)) {
    if (auto set = write_cgroup(job_group(), "memory.max", std::to_string(spec_.memory.value)); !set)
      return set;
    static_cast<void>(
        write_cgroup(job_group(), "memory.swap.max", "0").ok());  // not there without swap accounting
  }
  if (by_cgroup2(spec_.processes)) {
    if (auto set = write_cgroup(job_group(), "pids.max", std::to_string(spec_.processes.value)); !set)
      return set;
  }
  if (spec_.memory.value > 0 && spec_.memory.mechanism == LimitMechanism::cgroup1) {
    auto procs = make_v1_group(spec_.memory, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    if (!procs) return std::move(procs).error();
    memory_procs_ = std::move(*procs);
  }
  if (spec_.processes.value > 0 && spec_.processes.mechanism == LimitMechanism::cgroup1) {
    auto procs = make_v1_group(spec_.processes, "pids.max", nullptr);
    if (!procs) return std::move(procs).error();
    process_procs_ = std::move(*procs);
  }
  return {};
}

Result<void> Tree::start(UniqueFd out, UniqueFd err, UniqueFd note) {
  if (auto made = make_groups(); !made) return made;
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return errno_error(errno, "cannot make a socket pair");
  }
  channel_.reset(pair[0]);
  const UniqueFd theirs(pair[1]);
  const int on = 1;
  ::setsockopt(channel_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);

  UniqueFd group;
  if (spec_.tiers.cgroup) {
    auto opened = open_file(job_group(), O_PATH | O_DIRECTORY);
    if (!opened) return std::move(opened).error();
    group = std::move(*opened);
  }
  LeaderPlan plan(spec_);
  plan.out = out.get();
  plan.err = err.get();
  plan.memory_group = memory_procs_.get();
  plan.process_group = process_procs_.get();

  int pidfd = -1;
  CloneRequest request{.flags = 0, .cgroup = group.get(), .pidfd = &pidfd};
  pid_t pid = 0;
  if (spec_.tiers.pidns) {
    request.flags = CLONE_NEWPID | CLONE_NEWNS;
    if (!spec_.share_ipc) request.flags |= CLONE_NEWIPC;
    if (spec_.user_namespace) request.flags |= CLONE_NEWUSER;
    InitPlan init{.spec = &spec_,
                  .leader = &plan,
                  .channel = theirs.get(),
                  .keeper = self_,
                  .uid = ::geteuid(),
                  .gid = ::getegid()};
    pid = clone_child(request, nullptr, 0, init_main, &init);
  } else {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    plan.die_with = self_;
    plan.note = note.get();
    PlainStart plain{.plan = &plan, .channel = theirs.get()};
    // Not by vfork: a leader that hangs before its exec (a dead NFS server) must not hang its keeper.
    pid = clone_child(request, nullptr, 0, plain_body, &plain);
  }
  if (pid < 0) {
    const std::string advice =
        -pid == EACCES || -pid == EPERM
            ? "; the containment that was found at the daemon's start is not granted any more "
              "(see 'ebb doctor')"
            : "";
    return wire_error(Errc::io,
                      std::string("cannot start a contained process: ") + std::strerror(-pid) + advice);
  }
  child_.reset(pidfd);
  child_pid_ = pid;
  forget_command(spec_, plan);
  return {};
}

void Tree::add_polls(std::vector<pollfd>& entries) const {
  if (channel_) entries.push_back({.fd = channel_.get(), .events = POLLIN, .revents = 0});
  if (child_ && !child_reaped_) entries.push_back({.fd = child_.get(), .events = POLLIN, .revents = 0});
  if (events_ && child_reaped_) entries.push_back({.fd = events_->fd(), .events = POLLPRI, .revents = 0});
}

void Tree::take_report(const InitReport& report, std::string_view text, pid_t sender, News& news) {
  switch (report.kind) {
    case InitNews::started:
      leader_known_ = true;
      news.started = sender;
      break;
    case InitNews::start_failed:
      leader_known_ = leader_ended_ = true;
      news.start_failure = StartFailure{.exit_code = report.value, .message = std::string(text)};
      break;
    case InitNews::leader_exited:
      leader_ended_ = true;
      news.leader_status = report.value;
      news.counted = std::max<std::uint64_t>(news.counted.value_or(0), report.count + 1U);  // and the leader
      break;
    case InitNews::signalled:
      news.counted = std::max<std::uint64_t>(news.counted.value_or(0), report.count);
      break;
  }
}

void Tree::read_reports(News& news) {
  while (channel_) {
    InitReport report;
    std::array<char, EndRecord::kMaxText> text;
    std::array<iovec, 2> parts{
        {{.iov_base = &report, .iov_len = sizeof report}, {.iov_base = text.data(), .iov_len = text.size()}}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(channel_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got < static_cast<ssize_t>(sizeof report)) {
      channel_.reset();
      // Without an init it is the leader's exec that closes the other side, if nothing else was said before.
      if (!spec_.tiers.pidns && !leader_known_) {
        leader_known_ = true;
        news.started = child_pid_;
      }
      return;
    }
    pid_t sender = 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
      ucred who{};
      std::memcpy(&who, CMSG_DATA(header), sizeof who);
      sender = who.pid;
    }
    take_report(report, {text.data(), static_cast<std::size_t>(got) - sizeof report}, sender, news);
  }
}

void Tree::reap(News& news) {
  if (child_pid_ == 0) return;
  if (spec_.tiers.pidns) {
    siginfo_t info{};
    if (child_reaped_ || ::waitid(P_PIDFD, static_cast<id_t>(child_.get()), &info, WEXITED | WNOHANG) != 0 ||
        info.si_pid == 0) {
      return;
    }
    child_reaped_ = true;
    read_reports(news);  // what it said before it went
    // An init that went without a word about its leader took it along by SIGKILL: so the kernel does it.
    if (!leader_ended_ && leader_known_) news.leader_status = SIGKILL;
    if (!leader_known_) {
      news.start_failure =
          StartFailure{.exit_code = 125, .message = "the namespace's init was killed during the start"};
    }
    leader_known_ = leader_ended_ = true;
    return;
  }
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG | __WALL)) > 0;) {
    if (pid != child_pid_ || child_reaped_) continue;
    child_reaped_ = true;
    read_reports(news);
    if (!leader_ended_) news.leader_status = status;
    leader_ended_ = true;
  }
}

Tree::News Tree::update(const Ready& ready) {
  News news;
  if (channel_ && ready(channel_.get())) read_reports(news);
  if (uses_children() || (child_ && ready(child_.get()))) reap(news);
  return news;
}

void Tree::open_events() {
  if (events_ || !spec_.tiers.cgroup) return;
  if (auto events = CgroupEvents::open(job_group())) events_ = std::move(*events);
}

bool Tree::populated() {
  if (!spec_.tiers.cgroup) return false;
  open_events();
  return events_ && events_->populated();
}

bool Tree::empty() {
  if (child_pid_ == 0) return true;
  if (!child_reaped_) return false;
  if (populated()) return false;
  if (spec_.tiers.pidns) return true;
  // A root job may leave its group, or be moved out of it (pam_systemd does so). Every descendant is below a
  // child of this subreaper; without children there is none.
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD;
}

std::optional<std::uint64_t> Tree::terminate() {
  if (spec_.tiers.pidns) {
    ::send(channel_.get(), &kInitTerminate, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    return std::nullopt;
  }
  open_events();
  bool freezing = false;
  if (spec_.tiers.cgroup) {
    // Frozen, nothing forks past the signal and no number changes hands. A group that does not freeze in time
    // (a process stuck in the kernel) is signalled all the same.
    const BootTime deadline = BootClock::now() + kFreezeTime;
    freezing = events_ && write_cgroup(job_group(), "cgroup.freeze", "1").ok();
    while (freezing && !events_->frozen()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
      if (left <= 0) break;
      pollfd entry{.fd = events_->fd(), .events = POLLPRI, .revents = 0};
      ::poll(&entry, 1, static_cast<int>(left));
    }
  }
  const std::vector<Descendant> all = descendants();
  signal_descendants(all, {SIGTERM, SIGCONT});
  if (freezing) static_cast<void>(write_cgroup(job_group(), "cgroup.freeze", "0").ok());
  return all.size();
}

void Tree::kill() {
  if (child_pid_ == 0) return;
  if (spec_.tiers.cgroup) static_cast<void>(kill_cgroup(job_group()).ok());
  if (spec_.tiers.pidns) {
    if (!child_reaped_) signal_pidfd(child_.get(), SIGKILL);
    return;
  }
  // The kernel is at it; what has left the group is looked for when it is empty.
  if (populated()) return;
  // First they all stand still, so that none forks past the kill; a sweep that finds nobody new ends that.
  std::size_t known = 0;
  std::vector<Descendant> all = descendants();
  for (int sweep = 0; sweep < kMostSweeps && all.size() > known; ++sweep) {
    known = all.size();
    signal_descendants(all, {SIGSTOP});
    all = descendants();
  }
  signal_descendants(all, {SIGKILL});
}

std::vector<Survivor> Tree::survivors() const {
  std::vector<Survivor> found;
  const auto add = [&](pid_t pid) {
    auto stat = read_proc_stat(pid);
    if (stat && !stat->gone()) found.push_back({.pid = pid, .comm = std::move(stat->comm)});
  };
  if (spec_.tiers.cgroup && spec_.tiers.pidns) {
    if (const auto pids = cgroup_processes(job_group())) {
      for (const pid_t pid : *pids) {
        if (pid != init_pid()) add(pid);
      }
    }
  } else if (spec_.tiers.pidns) {
    const auto namespace_of = [](pid_t pid) {
      return link_target("/proc/" + std::to_string(pid) + "/ns/pid");
    };
    const std::string ours = namespace_of(child_pid_);
    const auto pids = list_pids();
    for (std::size_t i = 0; pids && !ours.empty() && i < pids->size(); ++i) {
      if ((*pids)[i] != child_pid_ && namespace_of((*pids)[i]) == ours) add((*pids)[i]);
    }
  } else {
    for (const Descendant& one : descendants()) add(one.pid);
  }
  if (found.size() > EndRecord::kMaxSurvivors) found.resize(EndRecord::kMaxSurvivors);
  return found;
}

bool Tree::oom() const {
  if (spec_.memory.value == 0) return false;
  if (spec_.memory.mechanism == LimitMechanism::cgroup2) return oom_counted(job_group() + "/memory.events");
  if (spec_.memory.mechanism == LimitMechanism::cgroup1)
    return oom_counted(spec_.memory.cgroup1 + "/memory.oom_control");
  return false;
}

void Tree::remove_groups() {
  events_.reset();  // a removed group's file is ready for ever
  // What does not go at once is left to the daemon, which removes the attempt's whole group after the
  // keeper's end.
  if (spec_.tiers.cgroup) static_cast<void>(remove_cgroup(job_group(), BootClock::now()).ok());
  if (memory_procs_) ::rmdir(spec_.memory.cgroup1.c_str());
  if (process_procs_) ::rmdir(spec_.processes.cgroup1.c_str());
}

std::string Tree::kill_action() const {
  if (spec_.tiers.cgroup)
    return spec_.tiers.pidns ? "cgroup.kill and SIGKILL to the namespace's init" : "cgroup.kill";
  return spec_.tiers.pidns ? "SIGKILL to the namespace's init" : "SIGKILL to each descendant";
}

std::string Tree::verified_by() const {
  std::string text = spec_.tiers.pidns ? "the PID namespace's init reaped" : "no child left of the subreaper";
  if (spec_.tiers.cgroup) text += ", cgroup.events populated=0";
  return text;
}

}  // namespace ebb::process
