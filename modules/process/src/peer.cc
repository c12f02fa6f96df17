#include "ebb/process/peer.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>

namespace ebb::process {
namespace {

// Younger than Debian 12's headers; the kernel's own numbers.
#ifdef SO_PEERPIDFD
constexpr int kPeerPidfd = SO_PEERPIDFD;
#else
constexpr int kPeerPidfd = 77;
#endif

constexpr std::size_t kMostGroups = 65536;  // NGROUPS_MAX

Error failure(Errc code, std::string message) {
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

Result<std::vector<gid_t>> peer_groups(int socket) {
  std::vector<gid_t> groups(64);
  for (;;) {
    auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) {
      groups.resize(size / sizeof(gid_t));
      return groups;
    }
    // ERANGE: the kernel has told the size that is needed.
    if (errno != ERANGE || size / sizeof(gid_t) > kMostGroups || size / sizeof(gid_t) <= groups.size()) {
      return errno_error(errno, "cannot ask for the groups of a socket's peer");
    }
    groups.resize(size / sizeof(gid_t));
  }
}

// Where the kernel cannot give a pidfd of the peer, its number is opened, and what is opened then must be
// what the socket means: a process of the same user that is older than now. A process that took the number
// over since connect(2) cannot be told by that if it is the same user's; then it is that user's own process
// that is watched.
UniqueFd open_peer(pid_t pid, uid_t uid) {
  auto pidfd = open_pidfd(pid);
  if (!pidfd) return {};
  const auto before = read_proc_stat(pid);
  const auto status = read_proc_status(pid);
  const auto after = read_proc_stat(pid);
  if (!before || !status || !after || before->start_time != after->start_time) return {};
  if (status->effective_uid != uid && status->uid != uid) return {};
  if (!pidfd_alive(pidfd->get())) return {};
  return *std::move(pidfd);
}

// The errors of /proc, in words for the one who submits.
Error cannot_read(const PeerCredentials& peer, const Error& error, const char* what) {
  const std::string process = "process " + std::to_string(peer.pid);
  switch (error.code) {
    case Errc::not_found:
      return failure(Errc::unavailable,
                     "the submitting " + process + " ended before its " + what + " could be read");
    case Errc::forbidden:
      return failure(Errc::forbidden,
                     "the daemon may not read the " + std::string(what) + " of the submitting " + process +
                         "; submit with a program that is not set-uid, or over TCP with --workdir");
    case Errc::too_large:
      return failure(Errc::too_large,
                     "the environment of the submitting " + process + " is larger than " +
                         std::to_string(kLargestEnvironment >> 20) +
                         " MiB; remove large variables (env | sort shows them) or use --clean-env");
    default:
      return error;
  }
}

Result<std::vector<std::string>> environment_of(const PeerCredentials& peer) {
  auto text = read_proc_file(peer.pid, "environ", kLargestEnvironment);
  if (!text) return cannot_read(peer, text.error(), "environment");
  std::vector<std::string> environment;
  for (const std::string_view word : parse_nul_words(*text)) {
    const std::size_t equals = word.find('=');
    if (equals == 0 || equals == std::string_view::npos) continue;
    environment.emplace_back(word);
  }
  if (environment.size() > kMostVariables) {
    return failure(Errc::too_large, "the environment of the submitting process " + std::to_string(peer.pid) +
                                        " has " + std::to_string(environment.size()) +
                                        " variables, and at most " + std::to_string(kMostVariables) +
                                        " are passed on; remove some or use --clean-env");
  }
  return environment;
}

// The path must mean for us what it means for the submitter: not a folder that was deleted or moved away, and
// no path of another mount namespace or root.
Result<std::string> workdir_of(const PeerCredentials& peer) {
  auto path = read_proc_link(peer.pid, "cwd");
  if (!path) return cannot_read(peer, path.error(), "working directory");
  struct stat theirs{}, ours{};
  const std::string link = "/proc/" + std::to_string(peer.pid) + "/cwd";
  if (::stat(link.c_str(), &theirs) != 0) {
    const Errc code = errno == ENOENT || errno == ESRCH ? Errc::not_found : Errc::forbidden;
    return cannot_read(peer, errno_error(errno, "cannot stat " + link, code), "working directory");
  }
  if (::stat(path->c_str(), &ours) != 0 || ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino) {
    return failure(Errc::invalid,
                   "the working directory of the submitting process, " + *path +
                       ", was deleted or is not the same folder for the daemon (a container?); cd to "
                       "one that both see, or give --workdir");
  }
  return path;
}

}  // namespace

Result<PeerCredentials> peer_credentials(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  int domain = 0;
  socklen_t domain_size = sizeof domain;
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) != 0 || domain != AF_UNIX) {
    return failure(Errc::invalid, "only the peer of a Unix socket is known");
  }
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return errno_error(errno, "cannot ask who is at the other end of a socket");
  }
  // 0: another PID namespace; -1 as ids: not connected.
  if (credentials.pid <= 0) {
    return failure(
        Errc::forbidden,
        "the process at the other end is in a PID namespace that the daemon cannot see into (a container?); "
        "use the TCP address there");
  }
  auto groups = peer_groups(socket);
  if (!groups) return std::move(groups).error();
  PeerCredentials peer;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  peer.pid = credentials.pid;
  peer.groups = *std::move(groups);
  int pidfd = -1;
  socklen_t pidfd_size = sizeof pidfd;
  if (::getsockopt(socket, SOL_SOCKET, kPeerPidfd, &pidfd, &pidfd_size) == 0) {
    peer.pidfd.reset(pidfd);  // the kernel makes it close-on-exec
  } else if (errno == ENOPROTOOPT || errno == EINVAL) {
    peer.pidfd = open_peer(peer.pid, peer.uid);
  }
  return peer;
}

Result<SubmitterContext> submitter_context(const PeerCredentials& peer, bool with_environment) {
  const auto gone = [&] {
    return failure(Errc::unavailable,
                   "the submitting process " + std::to_string(peer.pid) +
                       " ended before its environment could be read; it must wait for the answer");
  };
  if (!peer.pidfd || !pidfd_alive(peer.pidfd.get())) return gone();
  SubmitterContext context;
  auto environment = with_environment ? environment_of(peer) : std::vector<std::string>();
  if (!environment) return std::move(environment).error();
  auto workdir = workdir_of(peer);
  if (!workdir) return std::move(workdir).error();
  auto status = read_proc_status(peer.pid);
  if (!status) return cannot_read(peer, status.error(), "umask");
  auto limits_text = read_proc_file(peer.pid, "limits");
  if (!limits_text) return cannot_read(peer, limits_text.error(), "limits");
  auto limits = parse_proc_limits(*limits_text);
  if (!limits) return std::move(limits).error();
  auto stat = read_proc_stat(peer.pid);
  if (!stat) return cannot_read(peer, stat.error(), "nice value");
  // An ended process leaves an empty environ, and its number may be another's by now: nothing of that counts
  // unless the peer has lived until here.
  if (stat->gone() || !pidfd_alive(peer.pidfd.get())) return gone();
  context.environment = *std::move(environment);
  context.workdir = *std::move(workdir);
  context.umask = status->umask.value_or(022);
  context.limits = *std::move(limits);
  context.nice = stat->nice;
  return context;
}

}  // namespace ebb::process
