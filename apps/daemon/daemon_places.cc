#include "daemon_places.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "ebb/base/files.h"
#include "ebb/process/proc.h"

namespace ebb::cli {
namespace {

// Who listens on the socket: the credentials of listen(2), which nobody can forge.
Result<ucred> listener_of(const std::string& path) {
  const std::filesystem::path whole(path);
  auto folder = open_file(whole.has_parent_path() ? whole.parent_path() : ".", O_PATH | O_DIRECTORY);
  if (!folder) return folder.error();
  const std::string text = "/proc/self/fd/" + std::to_string(folder->get()) + "/" + whole.filename().string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (text.size() >= sizeof address.sun_path) return errno_error(ENAMETOOLONG, "cannot connect to " + path);
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_error(errno, "cannot connect to " + path);
  }
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return errno_error(errno, "cannot tell who listens on " + path);
  }
  return credentials;
}

std::optional<std::string> option(const std::vector<std::string_view>& words, std::string_view name) {
  std::optional<std::string> value;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == name && i + 1 < words.size()) value = words[i + 1];
    if (words[i].starts_with(std::string(name) + "=")) value = words[i].substr(name.size() + 1);
  }
  return value;
}

Result<daemon::Config> configuration(uid_t uid, const std::optional<std::string>& file) {
  daemon::Config config = daemon::default_config(uid);
  const std::filesystem::path path = file ? std::filesystem::path(*file) : daemon::default_config_path(uid);
  std::error_code error;
  if (!file && !std::filesystem::exists(path, error)) return config;
  constexpr std::size_t kLargest = 16 << 20;
  auto text = read_file(path, kLargest);
  if (!text) return text.error();
  return daemon::parse_config(*text, path.string(), std::move(config));
}

}  // namespace

Result<DaemonPlaces> find_places(const client::Client* client, const std::string& state) {
  DaemonPlaces places;
  places.uid = ::geteuid();
  std::vector<std::string_view> words;
  std::string command_line;
  std::filesystem::path there;
  if (client != nullptr) {
    if (client->endpoint().kind == client::Endpoint::Kind::tcp) {
      return Error{.code = Errc::invalid,
                   .message =
                       "this looks at processes and devices, so it works on the daemon's own machine only: "
                       "name its socket, not " +
                       client->endpoint().text(),
                   .pointer = {},
                   .type = {}};
    }
    places.socket = client->endpoint().path;
    const auto listener = listener_of(places.socket);
    if (!listener) return listener.error();
    places.pid = listener->pid;
    places.uid = listener->uid;
    if (auto text = process::read_proc_file(places.pid, "cmdline")) command_line = std::move(*text);
    if (auto folder = process::read_proc_link(places.pid, "cwd")) there = *folder;
    words = process::parse_nul_words(command_line);
  }
  auto file = option(words, "--config");
  if (file) file = (there / *file).string();
  auto config = configuration(places.uid, file);
  if (!config) return config.error();
  places.config = std::move(*config);
  if (!state.empty()) {
    daemon::set_state_dir(places.config, std::filesystem::absolute(state));
  } else if (const auto dir = option(words, "--state")) {
    daemon::set_state_dir(places.config, there / *dir);
  }
  if (const auto ports = option(words, "--ports")) places.config.ports.range = *ports;
  if (const auto gpus = option(words, "--gpus")) places.config.gpus.use = *gpus;
  // What jobs have in EBB_SERVER is the path as the daemon was given it.
  if (const auto socket = option(words, "--socket")) {
    places.config.server.socket = there / *socket;
  } else if (!places.socket.empty()) {
    places.config.server.socket = places.socket;
  }
  return places;
}

}  // namespace ebb::cli
