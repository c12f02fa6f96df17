#include "ebb/process/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "clone3.h"
#include "codec.h"
#include "ebb/base/files.h"
#include "socket_path.h"

namespace ebb::process {
namespace {

// What the child needs between clone and exec; it runs in this process's memory and allocates nothing.
struct Child {
  const char* program;
  char* const* argv;
  std::span<const int> inherited;  // descriptors that stay open over the exec, under their numbers
  int null;
  int error;  // errno of what failed
};

int child_body(void* argument) {
  auto& child = *static_cast<Child*>(argument);
  char* const no_environment[] = {nullptr};
  const auto inherit = [](int fd) { return fd < 0 || ::fcntl(fd, F_SETFD, 0) == 0; };
  bool good = ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
  for (const int fd : child.inherited) good = good && inherit(fd);
  // Not the daemon's own: a pipe that reads its output would otherwise not end with it.
  for (int fd = 0; fd < 3; ++fd) good = good && ::dup2(child.null, fd) == fd;
  if (good) ::execve(child.program, child.argv, no_environment);
  child.error = errno;
  return 127;
}

Result<UniqueFd> store_spec(const LaunchSpec& spec) {
  UniqueFd memory(::memfd_create("ebb-launch-spec", MFD_CLOEXEC));
  if (!memory) return errno_error(errno, "cannot make a memory file for the launch spec");
  const std::string data = encode(spec);
  if (data.size() > LaunchSpec::kMaxBytes) {
    return wire_error(Errc::too_large, "arguments and environment together are over " +
                                           std::to_string(LaunchSpec::kMaxBytes >> 20) + " MiB");
  }
  if (auto written = write_all(memory.get(), data); !written) return std::move(written).error();
  return memory;
}

// Descriptors below 3 are about to be replaced in the child; one that stands there is moved up first.
Result<UniqueFd> above_standard(UniqueFd fd) {
  if (fd.get() >= 3) return fd;
  UniqueFd moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!moved) return errno_error(errno, "cannot duplicate a descriptor");
  return moved;
}

Error cannot_start(int error, const LaunchSpec& spec, const KeeperLaunch& launch) {
  if ((error == EACCES || error == EPERM) && spec.tiers.cgroup) {
    return errno_error(
        error, "cannot start " + launch.program + " in the cgroup " + spec.cgroup +
                   "/keeper; the daemon must run where that hierarchy is delegated to it (see 'ebb doctor')");
  }
  return errno_error(error, "cannot start " + launch.program);
}

}  // namespace

Result<StartedKeeper> start_keeper(const LaunchSpec& spec, const KeeperLaunch& launch) {
  if (auto good = check(spec); !good) return std::move(good).error();
  if (launch.locks.size() > kMaxKeeperLocks) {
    return wire_error(Errc::too_large,
                      "a keeper holds at most " + std::to_string(kMaxKeeperLocks) + " locks");
  }
  auto null = open_file("/dev/null", O_RDWR);
  if (!null) return std::move(null).error();
  auto memory = store_spec(spec);
  if (!memory) return std::move(memory).error();
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return errno_error(errno, "cannot make a socket pair");
  }
  UniqueFd ours(pair[0]);
  auto theirs = above_standard(UniqueFd(pair[1]));
  if (!theirs) return std::move(theirs).error();
  auto high_null = above_standard(std::move(*null));
  if (!high_null) return std::move(high_null).error();
  auto high_memory = above_standard(std::move(*memory));
  if (!high_memory) return std::move(high_memory).error();

  std::vector<int> inherited = {high_memory->get(), theirs->get(), launch.owner};
  inherited.insert(inherited.end(), launch.locks.begin(), launch.locks.end());
  std::string numbers;
  for (const int fd : inherited) numbers += (numbers.empty() ? "" : ",") + std::to_string(fd);

  UniqueFd group;
  if (spec.tiers.cgroup) {
    auto opened = open_file(spec.cgroup + "/keeper", O_PATH | O_DIRECTORY);
    if (!opened) return std::move(opened).error();
    group = std::move(*opened);
  }
  std::string name = "ebb-keeper";
  std::string label = spec.label;
  std::array<char*, 4> argv{name.data(), label.data(), numbers.data(), nullptr};
  Child child{.program = launch.program.c_str(),
              .argv = argv.data(),
              .inherited = inherited,
              .null = high_null->get(),
              .error = 0};
  int pidfd = -1;
  alignas(16) std::array<char, 32 << 10> stack;
  // No handler of this process may run in the child, which shares its memory; the keeper sets its own mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = clone_child({.flags = CLONE_VM | CLONE_VFORK, .cgroup = group.get(), .pidfd = &pidfd},
                                stack.data(), stack.size(), child_body, &child);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return cannot_start(-pid, spec, launch);
  StartedKeeper started{.pidfd = UniqueFd(pidfd), .pid = pid, .link = KeeperLink(std::move(ours))};
  if (child.error != 0) {
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(started.pidfd.get()), &info, WEXITED);
    return cannot_start(child.error, spec, launch);
  }
  return started;
}

Result<int> reap_keeper(const StartedKeeper& keeper) {
  int status = 0;
  // By pid, which this process's own unreaped child holds; waitid() would not give the raw status.
  const pid_t pid = ::waitpid(keeper.pid, &status, WNOHANG);
  if (pid == keeper.pid) return status;
  if (pid == 0) return wire_error(Errc::unavailable, "the keeper still runs");
  return errno_error(errno, "cannot reap the keeper");
}

Result<KeeperLink> KeeperLink::connect(const std::string& attempt_dir) {
  auto folder = open_file(attempt_dir, O_PATH | O_DIRECTORY);
  if (!folder) return wire_error(Errc::not_found, folder.error().message);
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error(errno, "cannot make a socket");
  const sockaddr_un address = keeper_socket_address(folder->get());
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    const Errc code = errno == ENOENT ? Errc::not_found : Errc::unavailable;
    return errno_error(errno, "no keeper answers at " + attempt_dir + "/keeper.sock", code);
  }
  KeeperLink link(std::move(socket));
  if (auto greeted = link.send(Hello{}); !greeted) return std::move(greeted).error();
  return link;
}

Result<void> KeeperLink::send(const KeeperCommand& command) {
  const std::string packet = encode(command);
  for (;;) {
    if (::send(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    if (errno == EINTR) continue;
    return errno_error(errno, "cannot reach the keeper",
                       errno == EAGAIN ? Errc::exhausted : Errc::unavailable);
  }
}

Result<KeeperLink::Received> KeeperLink::receive() {
  Received received;
  std::vector<char> packet(kMaxKeeperMessage);
  for (;;) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxKeeperLocks)> control;
    iovec part{.iov_base = packet.data(), .iov_len = packet.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return received;
    if (got <= 0) {
      received.closed = true;
      return received;
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
        received.locks.emplace_back(fd);
      }
    }
    auto event = parse_keeper_event({packet.data(), static_cast<std::size_t>(got)});
    if (!event) return std::move(event).error();
    if (const auto* welcome = std::get_if<Welcome>(&*event);
        welcome && welcome->version != kKeeperProtocolVersion) {
      return wire_error(Errc::conflict, "the keeper speaks protocol version " +
                                            std::to_string(welcome->version) + ", this daemon " +
                                            std::to_string(kKeeperProtocolVersion));
    }
    received.events.push_back(std::move(*event));
  }
}

}  // namespace ebb::process
