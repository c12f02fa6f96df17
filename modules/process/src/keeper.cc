#include "ebb/process/keeper.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "clone3.h"
#include "codec.h"
#include "descriptor_passing.h"
#include "ebb/base/files.h"
#include "keeper_loop.h"
#include "nursery.h"

namespace ebb::process {
namespace {

bool parse_number(std::string_view& text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!text.empty() && text.front() == ',') text.remove_prefix(1);
  return true;
}

// "SPEC,LINK,OWNER,FOLDER[,LOCK…]", -1 for none.
std::optional<Descriptors> parse_descriptors(std::string_view text) {
  std::vector<int> numbers;
  for (int number = 0; !text.empty();) {
    if (!parse_number(text, number)) return std::nullopt;
    numbers.push_back(number);
  }
  if (numbers.size() < 4) return std::nullopt;
  for (const int number : numbers) {
    if (number >= 0) ::fcntl(number, F_SETFD, FD_CLOEXEC);
  }
  Descriptors found;
  found.spec.reset(numbers[0]);
  found.link.reset(numbers[1]);
  found.owner.reset(numbers[2]);
  found.folder.reset(numbers[3]);
  for (std::size_t i = 4; i < numbers.size(); ++i) found.locks.emplace_back(numbers[i]);
  return found;
}

Result<LaunchSpec> read_spec(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return errno_error(errno, "cannot read the launch spec");
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size == 0 || size > LaunchSpec::kMaxBytes)
    return wire_error(Errc::corrupt, "the launch spec has no sane size");
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return errno_error(errno, "cannot map the launch spec");
  auto spec = parse_launch_spec({static_cast<const char*>(data), size});
  ::munmap(data, size);
  return spec;
}

// All get their default, which the job inherits: what the daemon's starter ignored (nohup) is no business of
// its. Then everything but faults of our own waits: INT and HUP are meant for others in a terminal's group,
// PIPE and XFSZ come back as errors, TERM and CHLD are read from a descriptor.
void set_signals() noexcept {
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &standard, nullptr);
  sigset_t all;
  sigfillset(&all);
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&all, fault);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

void lower_oom_score() noexcept {
  const UniqueFd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  // Refused without CAP_SYS_RESOURCE: then the keeper is as likely a victim as its daemon.
  if (score) static_cast<void>(write_all(score.get(), "-500").ok());
}

int run_keeper(Descriptors descriptors) noexcept {
  auto spec = read_spec(descriptors.spec.get());
  UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!spec || !self) return 1;
  descriptors.spec.reset();
  Keeper keeper(std::move(*spec), std::move(descriptors), std::move(self));
  return keeper.run();
}

// One keeper that is about to be forked.
struct Birth {
  std::span<char*> argv;
  int channel;
  std::string_view label;
  Descriptors descriptors;
};

// Room for the label is where the nursery's own arguments were, one after the other.
void show_label(std::span<char*> argv, std::string_view label) noexcept {
  char* const begin = argv[1];
  char* const end = argv[2] + std::strlen(argv[2]);
  std::memset(begin, 0, static_cast<std::size_t>(end - begin));
  std::memcpy(begin, label.data(), std::min(label.size(), static_cast<std::size_t>(end - begin)));
}

int born(void* argument) {
  auto& birth = *static_cast<Birth*>(argument);
  ::close(birth.channel);
  show_label(birth.argv, birth.label);
  return run_keeper(std::move(birth.descriptors));
}

// A request's descriptors in their order; nothing where there are not as many as it says.
std::optional<Descriptors> sort_out(const NurseryRequest& request, std::vector<UniqueFd> received,
                                    UniqueFd& group) {
  const std::size_t expected = 3U + (request.owner != 0) + (request.cgroup != 0) + request.locks;
  if (received.size() != expected) return std::nullopt;
  Descriptors sorted;
  std::size_t next = 0;
  sorted.spec = std::move(received[next++]);
  sorted.link = std::move(received[next++]);
  sorted.folder = std::move(received[next++]);
  if (request.owner != 0) sorted.owner = std::move(received[next++]);
  if (request.cgroup != 0) group = std::move(received[next++]);
  while (next < received.size()) sorted.locks.push_back(std::move(received[next++]));
  return sorted;
}

// Forks keepers until the channel ends. They become the daemon's children, by CLONE_PARENT.
int run_nursery(std::span<char*> argv, int channel) noexcept {
  static_cast<void>(boot_id());  // read once, for all
  // Stopped, it would keep a request that its dead daemon sent, and with it the lock that says that a keeper
  // may still come.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    std::array<char, sizeof(NurseryRequest) + kMaxNurseryLabel> packet;
    std::vector<UniqueFd> received;
    const ssize_t got = receive_with_descriptors(channel, packet, received, 0);
    if (got < static_cast<ssize_t>(sizeof(NurseryRequest))) return 0;
    NurseryRequest request;
    std::memcpy(&request, packet.data(), sizeof request);
    UniqueFd group;
    auto descriptors = sort_out(request, std::move(received), group);
    NurseryAnswer answer{.pid = -EINVAL};
    UniqueFd pidfd;
    if (descriptors) {
      Birth birth{.argv = argv,
                  .channel = channel,
                  .label = {packet.data() + sizeof request, static_cast<std::size_t>(got) - sizeof request},
                  .descriptors = std::move(*descriptors)};
      int number = -1;
      answer.pid = clone_child({.flags = CLONE_PARENT, .cgroup = group.get(), .pidfd = &number}, nullptr, 0,
                               born, &birth);
      if (answer.pid > 0) pidfd.reset(number);
    }
    const std::array<int, 1> beside{pidfd.get()};
    if (!send_with_descriptors(channel, {reinterpret_cast<const char*>(&answer), sizeof answer},
                               std::span(beside).first(pidfd ? 1 : 0), 0)) {
      return 0;
    }
  }
}

}  // namespace

int keeper_main(std::span<char*> argv) noexcept {
  set_signals();
  ::umask(077);
  // Away from the daemon's terminal. A nursery's keepers stay in its session: with autogroups each new
  // session is a scheduling group of its own, whose first run waits for a turn on a busy machine.
  ::setsid();
  if (::chdir("/") != 0) return 1;  // the daemon's folder may have to be unmounted
  std::string_view first = argv.size() == 3 ? argv[1] : "";
  if (first.starts_with(kNurseryWord)) {
    first.remove_prefix(std::strlen(kNurseryWord));
    int channel = -1;
    if (!parse_number(first, channel)) return 2;
    ::fcntl(channel, F_SETFD, FD_CLOEXEC);
    lower_oom_score();
    return run_nursery(argv, channel);
  }
  auto descriptors = argv.size() == 3 ? parse_descriptors(argv[2]) : std::nullopt;
  if (!descriptors) {
    std::fputs("ebb-keeper is started by ebb, for one job each; see docs/formats/keeper.md\n", stderr);
    return 2;
  }
  lower_oom_score();
  return run_keeper(std::move(*descriptors));
}

}  // namespace ebb::process
