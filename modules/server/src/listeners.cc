#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "ebb/base/files.h"
#include "ebb/base/listeners.h"
#include "ebb/server/server.h"

namespace ebb::server {
namespace {

namespace fs = std::filesystem;
constexpr int kBacklog = 1024;

Error refused(Errc code, std::string message) {
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

// "pid 4711 (python3)", of the process that has the socket; only root and the owner may see that.
std::string holder_of(std::uint64_t inode) {
  const std::string wanted = "socket:[" + std::to_string(inode) + "]";
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (fs::directory_iterator at(process.path() / "fd", ignored), end; at != end; at.increment(ignored)) {
      if (fs::read_symlink(at->path(), ignored) != wanted) continue;
      auto name = read_file(process.path() / "comm", 256);
      std::string text = "pid " + pid;
      if (name) text += " (" + name->substr(0, name->find('\n')) + ")";
      return text;
    }
  }
  return {};
}

std::string describe_holder(std::uint16_t port) {
  const auto listeners = tcp_listeners(port, port);
  if (!listeners || listeners->empty()) return "another process";
  const Listener& one = listeners->front();
  std::string text = holder_of(one.inode);
  if (!text.empty()) return text;
  std::vector<char> buffer(16 << 10);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(one.uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return std::string("a process of ") + entry.pw_name;
  }
  return "a process of uid " + std::to_string(one.uid);
}

// The folder of the socket, opened, so that "/proc/self/fd/N/name" fits a sockaddr whatever the path's
// length.
Result<UniqueFd> open_parent(const fs::path& path) {
  if (auto made = make_directories(path.parent_path(), 0755); !made) return made.error();
  return open_file(path.parent_path(), O_PATH | O_DIRECTORY);
}

Result<sockaddr_un> short_address(const UniqueFd& parent, const fs::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = "/proc/self/fd/" + std::to_string(parent.get()) + "/" + path.filename().native();
  if (text.size() >= sizeof address.sun_path) {
    return refused(Errc::invalid, "the name of the socket " + path.native() + " is too long");
  }
  text.copy(static_cast<char*>(address.sun_path), text.size());
  return address;
}

template <typename Address>
const sockaddr* generic(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Removes what a dead daemon left; refuses anything that is no socket, or that answers.
Result<void> clear_stale(const UniqueFd& parent, const sockaddr_un& address, const fs::path& path) {
  struct stat found{};
  const std::string name = path.filename();
  if (::fstatat(parent.get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) return {};
  if (!S_ISSOCK(found.st_mode)) {
    return refused(Errc::conflict, path.native() + " is there and is no socket; choose another --socket");
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int answer = ::connect(probe.get(), generic(address), sizeof address);
  if (answer == 0 || errno == EAGAIN) {
    return refused(Errc::conflict, "another daemon answers at " + path.native() +
                                       "; stop it, or give this one its own --state and --socket");
  }
  if (::unlinkat(parent.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error(errno, "cannot replace the old socket " + path.native());
  }
  return {};
}

// Makes `path` a link to the socket's place in a folder beside it.
Result<void> link_socket(const fs::path& path, const fs::path& place) {
  const fs::path target = place.lexically_relative(path.parent_path());
  std::error_code failure;
  if (fs::read_symlink(path, failure) == target) return {};
  auto parent = open_parent(path);
  if (!parent) return parent.error();
  auto address = short_address(*parent, path);
  if (!address) return address.error();
  if (auto cleared = clear_stale(*parent, *address, path); !cleared) return cleared;
  if (::symlinkat(target.c_str(), parent->get(), path.filename().c_str()) == 0) return {};
  return errno_error(errno, "cannot make the link " + path.native());
}

}  // namespace

Result<UniqueFd> listen_tcp(const daemon::Config& config) {
  if (!config.server.listen) return UniqueFd();
  auto where = daemon::parse_listen(*config.server.listen);
  if (!where) return where.error();
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (where->host.find(':') != std::string::npos) {
    auto& address = reinterpret_cast<sockaddr_in6&>(storage);
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(where->port);
    ::inet_pton(AF_INET6, where->host.c_str(), &address.sin6_addr);
    size = sizeof address;
  } else {
    auto& address = reinterpret_cast<sockaddr_in&>(storage);
    address.sin_family = AF_INET;
    address.sin_port = htons(where->port);
    ::inet_pton(AF_INET, where->host.c_str(), &address.sin_addr);
    size = sizeof address;
  }
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "cannot make a TCP socket");
  const int yes = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(fd.get(), generic(storage), size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    const int failure = errno;
    if (failure != EADDRINUSE) {
      return errno_error(failure, "cannot listen on " + *config.server.listen + " (server.listen, --listen)");
    }
    return refused(Errc::conflict,
                   *config.server.listen + " is in use by " + describe_holder(where->port) +
                       "; choose another --listen ADDRESS:PORT, or --listen none to serve the Unix "
                       "socket only");
  }
  return fd;
}

Result<UniqueFd> listen_unix(const daemon::Config& config) {
  const fs::path path = daemon::socket_place(config);
  if (path != config.server.socket) {
    if (auto linked = link_socket(config.server.socket, path); !linked) return linked.error();
  }
  auto parent = open_parent(path);
  if (!parent) return parent.error();
  auto address = short_address(*parent, path);
  if (!address) return address.error();
  if (auto cleared = clear_stale(*parent, *address, path); !cleared) return cleared.error();
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "cannot make a Unix socket");
  // bind() takes the mode from the umask; nobody connects before listen(), so the chmod in between is safe.
  if (::bind(fd.get(), generic(*address), sizeof *address) != 0 ||
      ::fchmodat(parent->get(), path.filename().c_str(), 0666, 0) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return errno_error(errno, "cannot listen at " + path.native());
  }
  return fd;
}

}  // namespace ebb::server
