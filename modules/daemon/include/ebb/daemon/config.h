#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/model/job.h"

namespace ebb::daemon {

/// One word of a template's command, or several that stand and fall together: an inner array of the file,
/// left out when a placeholder in it has no value.
using TemplateWord = std::variant<std::string, std::vector<std::string>>;

/// [templates.NAME]
struct JobTemplate {
  std::vector<TemplateWord> command;
  std::optional<int> gpus;
  int ports = 0;
  std::optional<model::JobSpec::ReadyCheck> ready;
  bool owner_is_connection = false;  ///< owner = "connection"
  std::optional<std::string> workdir;
  std::map<std::string, std::string> env;
};

/// All that ebb.toml can say; docs/config.md shows each key. Command-line options are laid over it.
struct Config {
  struct Server {
    std::filesystem::path socket;
    std::optional<std::string> listen = "127.0.0.1:8765";  ///< empty: no TCP ("none")
    bool registration = false;
    std::int64_t max_body = 1 << 20;
  } server;
  struct State {
    std::filesystem::path dir;
  } state;
  struct Gpus {
    std::string use = "auto";  ///< auto, none, "0,1,2,3" or "declared:4"
    std::vector<std::string> ignore;
    std::int64_t free_memory_mib = 64;
  } gpus;
  struct Ports {
    std::optional<std::string> range;  ///< "38000-38099"; empty: the default
  } ports;
  struct Jobs {
    std::string bind = "127.0.0.1";
    std::string advertise = "127.0.0.1";
    std::filesystem::path scratch;
    std::string account;
    bool allow_root = false;
    bool keep_on_stop = false;  ///< on_stop = "keep"
    Duration daemon_gone = std::chrono::seconds(60);
    Duration kill_timeout = std::chrono::seconds(5);
    Duration gpu_release_timeout = std::chrono::seconds(10);
  } jobs;
  struct Queue {
    std::int64_t max_running = 256;
    std::int64_t max_queued = 1'000'000;
    std::int64_t max_per_user = 200'000;
    Duration overtake = std::chrono::seconds(60);
  } queue;
  /// How much of what has ended is kept.
  struct History {
    std::int64_t jobs = 100'000;
    std::optional<Duration> max_age;             ///< since a job's end; empty: any
    Duration min_age = std::chrono::minutes(1);  ///< what is younger stays, whatever the other limits say
    std::int64_t logs = std::int64_t{20} << 30;  ///< bytes of all logs of ended jobs
  } history;
  model::JobDefaults defaults;
  std::map<std::string, JobTemplate> templates;
  struct Compat {
    bool auth = true;
    std::vector<std::string> cors_origins;
  } compat;
};

/// The configuration of a daemon of `uid` with nothing said: paths as in docs/config.md. Reads the
/// environment (HOME, XDG_…) for a user's daemon.
[[nodiscard]] Config default_config(uid_t uid);
/// Where that daemon looks for its file.
[[nodiscard]] std::filesystem::path default_config_path(uid_t uid);
/// Lays a TOML text over `base`. Errors name file, line and key: unknown keys, wrong types, values out of
/// range.
[[nodiscard]] Result<Config> parse_config(std::string_view text, const std::string& file_name, Config base);
/// Where `server.listen` points. Port 0 lets the kernel choose.
struct ListenAddress {
  std::string host;  ///< an IP address, without brackets
  std::uint16_t port = 0;
  [[nodiscard]] bool loopback() const;
};
/// "127.0.0.1:8765", "[::1]:8765".
[[nodiscard]] Result<ListenAddress> parse_listen(std::string_view text);
/// Where the socket itself lies: at `server.socket`, or, where that is inside the state directory, which jobs
/// do not see, in a folder `run` beside it, and `server.socket` is a link to it. Jobs keep link and folder,
/// and so find the socket of the next daemon too.
[[nodiscard]] std::filesystem::path socket_place(const Config& config);
/// Moves the state directory (`--state`); the socket goes with it where it lay inside.
void set_state_dir(Config& config, const std::filesystem::path& dir);

/// What depends on several keys: auth off only on loopback, and the like.
[[nodiscard]] Result<void> check_config(const Config& config);
/// All keys with their values, as TOML that parse_config() reads back.
[[nodiscard]] std::string print_config(const Config& config);

}  // namespace ebb::daemon
