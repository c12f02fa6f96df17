#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>

#include "ebb/base/files.h"
#include "ebb/base/ids.h"
#include "ebb/base/text.h"
#include "ebb/client/sidecar.h"
#include "ebb/process/scratch.h"

namespace ebb::client {
namespace {

Error usage(std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

struct NameAndValue {
  std::string name;
  std::string value;
};

Result<NameAndValue> read_pair(const std::string& text, const std::string& option,
                               const std::string& example) {
  const auto equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    return usage(option + ' ' + shell_quoted(text) + ": write NAME=" + example);
  }
  NameAndValue pair{.name = text.substr(0, equals), .value = text.substr(equals + 1)};
  const bool plain = std::ranges::all_of(pair.name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (!plain) {
    return usage(option + ' ' + shell_quoted(text) + ": a name is made of letters, digits, '-' and '_'");
  }
  return pair;
}

// Above what services use and below the ephemeral ports (32768 on), where any outgoing connection could take
// the port between our letting go and the side process's bind; and not where jobs' ports are (28000, 38000).
constexpr int kFirstPort = 27000;
constexpr int kPorts = 1000;

std::string folder_prefix() { return "ebb-run-" + std::to_string(::geteuid()) + "-"; }

constexpr Duration kRemovalTime = std::chrono::seconds(5);

// Folders whose lock nobody holds belong to runs that were killed, and whose keepers have ended the side
// processes: a keeper holds its client's lock for as long as it lives.
void remove_abandoned(const std::filesystem::path& parent) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
    if (!entry.path().filename().string().starts_with(folder_prefix())) continue;
    struct stat status{};
    if (::lstat(entry.path().c_str(), &status) != 0 || !S_ISDIR(status.st_mode) ||
        status.st_uid != ::geteuid()) {
      continue;
    }
    const UniqueFd lock(::open((entry.path() / "lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    // No lock file yet: another run is making it at this moment.
    if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    (void)process::remove_tree(entry.path(), BootClock::now() + kRemovalTime, nullptr);
  }
}

}  // namespace

Result<std::vector<SidecarSpec>> parse_sidecars(const std::vector<std::string>& commands,
                                                const std::vector<std::string>& ready_paths) {
  constexpr std::size_t kMostSidecars = 64;
  if (commands.size() > kMostSidecars) return usage("--sidecar: at most 64 side processes");
  std::vector<SidecarSpec> sidecars;
  const auto find = [&sidecars](const std::string& name) {
    return std::ranges::find(sidecars, name, &SidecarSpec::name);
  };
  for (const std::string& text : commands) {
    auto pair = read_pair(text, "--sidecar", "CMD");
    if (!pair) return pair.error();
    if (find(pair->name) != sidecars.end()) return usage("--sidecar " + pair->name + " is given twice");
    sidecars.push_back(
        {.name = std::move(pair->name), .command = std::move(pair->value), .ready_path = std::nullopt});
  }
  for (const std::string& text : ready_paths) {
    const auto pair = read_pair(text, "--sidecar-ready", "/health");
    if (!pair) return pair.error();
    const auto sidecar = find(pair->name);
    if (sidecar == sidecars.end()) {
      return usage("--sidecar-ready " + pair->name + ": there is no --sidecar " + pair->name + "=…");
    }
    const bool plain = pair->value.starts_with('/') &&
                       std::ranges::all_of(pair->value, [](char c) { return c > ' ' && c < 0x7f; });
    if (!plain) {
      return usage("--sidecar-ready " + shell_quoted(text) +
                   ": the path must begin with '/', as /health does");
    }
    sidecar->ready_path = pair->value;
  }
  return sidecars;
}

Result<HeldPort> HeldPort::pick() {
  unsigned start = 0;
  random_bytes(&start, sizeof start);  // so that runs that start together rarely meet
  for (int i = 0; i < kPorts; ++i) {
    const int port = kFirstPort + static_cast<int>((start + static_cast<unsigned>(i)) % kPorts);
    // Without SO_REUSEADDR, so that a port in TIME_WAIT, which some servers could not bind, is passed over.
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) return errno_error(errno, "cannot make a socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return HeldPort(std::move(socket), port);
    }
  }
  return Error{.code = Errc::exhausted,
               .message = "no port from 27000 to 27999 is free for a side process",
               .pointer = {},
               .type = {}};
}

Result<SidecarFolder> SidecarFolder::make() {
  std::error_code error;
  const auto parent = std::filesystem::temp_directory_path(error);
  if (error) return usage("no folder for temporary files: " + error.message() + "; set TMPDIR");
  remove_abandoned(parent);
  constexpr int kTries = 100;
  for (int i = 0;; ++i) {
    std::string path = (parent / (folder_prefix() + random_hex(8))).string();
    if (::mkdir(path.c_str(), 0700) != 0) return errno_error(errno, "cannot make " + path);
    const std::string name = path + "/lock";
    UniqueFd lock(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    const bool locked = lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
    const int cause = locked ? ENOENT : errno;
    if (locked && same_file(lock.get(), name)) return SidecarFolder(std::move(path), std::move(lock));
    (void)process::remove_tree(path, BootClock::now() + kRemovalTime, nullptr);
    // Another run has seen the lock before it was ours, and taken the folder for an abandoned one.
    const bool taken = cause == EWOULDBLOCK || cause == ENOENT;
    if (!taken || i == kTries) return errno_error(cause, "cannot lock " + name);
  }
}

SidecarFolder::SidecarFolder(SidecarFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}

SidecarFolder::~SidecarFolder() {
  if (!path_.empty()) (void)process::remove_tree(path_, BootClock::now() + kRemovalTime, nullptr);
}

}  // namespace ebb::client
