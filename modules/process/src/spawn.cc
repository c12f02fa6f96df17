#include "ebb/process/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <variant>

#include "clone3.h"
#include "codec.h"
#include "descriptor_passing.h"
#include "ebb/base/files.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/keeper_lock.h"
#include "nursery.h"
#include "socket_path.h"

namespace ebb::process {
namespace {

constexpr int kNurseryPatienceMs = 5'000;

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

Error cannot_start(int error, const LaunchSpec& spec, const std::string& program) {
  if ((error == EACCES || error == EPERM) && spec.tiers.cgroup) {
    return errno_error(
        error, "cannot start " + program + " in the cgroup " + spec.cgroup +
                   "/keeper; the daemon must run where that hierarchy is delegated to it (see 'ebb doctor')");
  }
  return errno_error(error, "cannot start " + program);
}

// What a keeper is given, whichever way it is started.
struct Endowment {
  UniqueFd spec;
  UniqueFd ours;    // the daemon's end of the link
  UniqueFd theirs;  // the keeper's
  UniqueFd folder;  // the attempt's, locked
  UniqueFd group;   // the cgroup that it begins in, or empty
};

Result<Endowment> endow(const LaunchSpec& spec, std::size_t locks) {
  if (auto good = check(spec); !good) return std::move(good).error();
  if (locks > kMaxKeeperLocks) {
    return wire_error(Errc::too_large,
                      "a keeper holds at most " + std::to_string(kMaxKeeperLocks) + " locks");
  }
  Endowment given;
  auto memory = store_spec(spec);
  if (!memory) return std::move(memory).error();
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return errno_error(errno, "cannot make a socket pair");
  }
  given.ours.reset(pair[0]);
  auto theirs = above_standard(UniqueFd(pair[1]));
  if (!theirs) return std::move(theirs).error();
  given.theirs = std::move(*theirs);
  auto high_memory = above_standard(std::move(*memory));
  if (!high_memory) return std::move(high_memory).error();
  given.spec = std::move(*high_memory);
  auto folder = lock_attempt_dir(spec.attempt_dir);
  if (folder) folder = above_standard(std::move(*folder));
  if (!folder) return std::move(folder).error();
  given.folder = std::move(*folder);
  if (spec.tiers.cgroup) {
    auto opened = open_file(spec.cgroup + "/keeper", O_PATH | O_DIRECTORY);
    if (!opened) return std::move(opened).error();
    given.group = std::move(*opened);
  }
  return given;
}

struct Executed {
  UniqueFd pidfd;
  pid_t pid = 0;
};

// Executes the keeper's program; errors are errno values, for the caller to explain.
std::variant<Executed, int> execute(const std::string& program, std::string first, std::string second,
                                    std::span<const int> inherited, int group) {
  auto null = open_file("/dev/null", O_RDWR);
  if (null) null = above_standard(std::move(*null));
  if (!null) return errno;
  std::string name = "ebb-keeper";
  std::array<char*, 4> argv{name.data(), first.data(), second.data(), nullptr};
  Child child{.program = program.c_str(),
              .argv = argv.data(),
              .inherited = inherited,
              .null = null->get(),
              .error = 0};
  int pidfd = -1;
  alignas(16) std::array<char, 32 << 10> stack;
  // No handler of this process may run in the child, which shares its memory; the keeper sets its own mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = clone_child({.flags = CLONE_VM | CLONE_VFORK, .cgroup = group, .pidfd = &pidfd},
                                stack.data(), stack.size(), child_body, &child);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return -pid;
  Executed executed{.pidfd = UniqueFd(pidfd), .pid = pid};
  if (child.error != 0) {
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(executed.pidfd.get()), &info, WEXITED);
    return child.error;
  }
  return executed;
}

// A keeper of its own program, with what it is given.
Result<StartedKeeper> start_endowed(Endowment given, const LaunchSpec& spec, const KeeperLaunch& launch) {
  std::vector<int> inherited = {given.spec.get(), given.theirs.get(), launch.owner, given.folder.get()};
  inherited.insert(inherited.end(), launch.locks.begin(), launch.locks.end());
  std::string numbers;
  for (const int fd : inherited) numbers += (numbers.empty() ? "" : ",") + std::to_string(fd);
  auto executed = execute(launch.program, spec.label, numbers, inherited, given.group.get());
  if (const int* error = std::get_if<int>(&executed)) return cannot_start(*error, spec, launch.program);
  auto& keeper = std::get<Executed>(executed);
  return StartedKeeper{
      .pidfd = std::move(keeper.pidfd), .pid = keeper.pid, .link = KeeperLink(std::move(given.ours))};
}

}  // namespace

Result<StartedKeeper> start_keeper(const LaunchSpec& spec, const KeeperLaunch& launch) {
  auto given = endow(spec, launch.locks.size());
  if (!given) return std::move(given).error();
  return start_endowed(std::move(*given), spec, launch);
}

Result<void> KeeperStarter::start_nursery() {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return errno_error(errno, "cannot make a socket pair");
  }
  UniqueFd ours(pair[0]);
  auto theirs = above_standard(UniqueFd(pair[1]));
  if (!theirs) return std::move(theirs).error();
  const std::array<int, 1> inherited{theirs->get()};
  // The second word is only room: a keeper writes its label over both, for ps.
  auto executed =
      execute(program_, kNurseryWord + std::to_string(theirs->get()), std::string(64, ' '), inherited, -1);
  if (const int* error = std::get_if<int>(&executed)) return errno_error(*error, "cannot start " + program_);
  nursery_ = std::move(std::get<Executed>(executed).pidfd);
  nursery_pid_ = std::get<Executed>(executed).pid;
  channel_ = std::move(ours);
  return {};
}

void KeeperStarter::end_nursery() noexcept {
  channel_.reset();
  if (!nursery_) return;
  // It would end by itself at the channel's end; but it may be stopped, and has nothing to lose.
  ::syscall(SYS_pidfd_send_signal, nursery_.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  ::waitid(P_PIDFD, static_cast<id_t>(nursery_.get()), &info, WEXITED);
  nursery_.reset();
  nursery_pid_ = 0;
}

Result<StartedKeeper> KeeperStarter::start(const LaunchSpec& spec, std::span<const int> locks, int owner) {
  const KeeperLaunch launch{.program = program_, .locks = locks, .owner = owner};
  if (locks.size() + 5 > kMaxNurseryDescriptors || spec.label.size() > kMaxNurseryLabel) {
    return start_keeper(spec, launch);
  }
  auto given = endow(spec, locks.size());
  if (!given) return std::move(given).error();
  std::vector<int> descriptors = {given->spec.get(), given->theirs.get(), given->folder.get()};
  if (owner >= 0) descriptors.push_back(owner);
  if (given->group) descriptors.push_back(given->group.get());
  descriptors.insert(descriptors.end(), locks.begin(), locks.end());
  const NurseryRequest request{.owner = static_cast<std::uint8_t>(owner >= 0 ? 1 : 0),
                               .cgroup = static_cast<std::uint8_t>(given->group ? 1 : 0),
                               .locks = static_cast<std::uint16_t>(locks.size())};
  std::string packet(reinterpret_cast<const char*>(&request), sizeof request);
  packet += spec.label;

  const auto ask = [&] {
    return channel_ && send_with_descriptors(channel_.get(), packet, descriptors, MSG_DONTWAIT);
  };
  if (!ask()) {
    // Not there yet, or lost before it took the request: only then may the request be made again.
    end_nursery();
    if (!start_nursery() || !ask()) return start_endowed(std::move(*given), spec, launch);
  }
  NurseryAnswer answer;
  std::vector<UniqueFd> pidfd;
  const std::span<char> room(reinterpret_cast<char*>(&answer), sizeof answer);
  pollfd entry{.fd = channel_.get(), .events = POLLIN, .revents = 0};
  while (::poll(&entry, 1, kNurseryPatienceMs) < 0 && errno == EINTR) {
  }
  if (receive_with_descriptors(channel_.get(), room, pidfd, MSG_DONTWAIT) != sizeof answer) {
    // It died or stands still with the request. Whether there is a keeper nobody can say, so there shall be
    // none.
    end_nursery();
    if (spec.tiers.cgroup) static_cast<void>(kill_cgroup(spec.cgroup).ok());
    given->folder.reset();
    kill_keeper(spec.attempt_dir);
    return wire_error(Errc::unavailable, "the process that forks keepers did not answer; it was ended");
  }
  if (answer.pid <= 0 || pidfd.size() != 1) return cannot_start(-answer.pid, spec, program_);
  return StartedKeeper{
      .pidfd = std::move(pidfd.front()), .pid = answer.pid, .link = KeeperLink(std::move(given->ours))};
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
  const sockaddr_un address = keeper_socket_address(folder->get(), kKeeperSocket);
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
  const auto too_long = [](const std::string& reason) { return reason.size() > EndRecord::kMaxReason; };
  const auto* stop = std::get_if<Stop>(&command);
  const auto* kill = std::get_if<Kill>(&command);
  if ((stop != nullptr && too_long(stop->reason)) || (kill != nullptr && too_long(kill->reason))) {
    return wire_error(Errc::too_large,
                      "a reason is longer than " + std::to_string(EndRecord::kMaxReason) + " bytes");
  }
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
  for (;;) {
    // Room for the largest, once for each thread: nothing of it but the packet is ever touched.
    static thread_local const auto room = std::make_unique_for_overwrite<char[]>(kMaxKeeperMessage);
    const ssize_t size = receive_with_descriptors(socket_.get(), {room.get(), kMaxKeeperMessage},
                                                  received.locks, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return received;
    if (size <= 0) {
      received.closed = true;
      return received;
    }
    auto event = parse_keeper_event({room.get(), static_cast<std::size_t>(size)});
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
