#include "ebb/daemon/config.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "config_fields.h"

namespace ebb::daemon {
namespace {

namespace fs = std::filesystem;

// An absolute path out of the environment; the XDG specification has relative ones ignored.
std::optional<fs::path> path_from_env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value != '/') return std::nullopt;
  return fs::path(value);
}

fs::path home_of(uid_t uid) {
  if (auto home = path_from_env("HOME")) return *home;
  std::vector<char> buffer(16 << 10);
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return entry.pw_dir;
  }
  return "/";
}

std::vector<std::string> sections() {
  std::vector<std::string> names;
  for (const ConfigField& field : config_fields()) {
    if (names.empty() || names.back() != field.section) names.emplace_back(field.section);
  }
  names.emplace_back("templates");
  return names;
}

Result<void> read_section(const std::string& file, const std::string& section, const toml::table& table,
                          Config& config) {
  for (const auto& [key, value] : table) {
    const std::string path = section + "." + std::string(key.str());
    const auto fields = config_fields();
    const auto field = std::find_if(
        fields.begin(), fields.end(),
        [&, name = key.str()](const ConfigField& one) { return one.section == section && one.key == name; });
    if (field == fields.end()) {
      std::vector<std::string> known;
      for (const ConfigField& one : fields) {
        if (one.section == section) known.emplace_back(one.key);
      }
      return unknown_key(file, key, path, known);
    }
    if (auto read = field->read(value, config); !read) {
      return config_error_at(file, value, path, read.error().message);
    }
  }
  return {};
}

Result<void> read_table(const std::string& file, const toml::table& table, Config& config) {
  const std::vector<std::string> known = sections();
  for (const auto& [key, value] : table) {
    const std::string section(key.str());
    if (std::find(known.begin(), known.end(), section) == known.end()) {
      return unknown_key(file, key, section, known);
    }
    const toml::table* fields = value.as_table();
    if (fields == nullptr) return config_error_at(file, value, section, "must be a table: [" + section + "]");
    auto read = section == "templates" ? read_templates(file, *fields, config)
                                       : read_section(file, section, *fields, config);
    if (!read) return read;
  }
  return {};
}

bool origin(std::string_view text) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!text.starts_with(scheme)) continue;
    const std::string_view rest = text.substr(scheme.size());
    return !rest.empty() && rest.find_first_of("/?#@ *") == std::string_view::npos;
  }
  return false;
}

}  // namespace

bool ListenAddress::loopback() const { return host == "::1" || host.starts_with("127."); }

Result<ListenAddress> parse_listen(std::string_view text) {
  const auto failure = [&] {
    return config_error("'" + std::string(text) +
                        "' is no address to listen on; write for example 127.0.0.1:8765, [::1]:8765 or none");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return failure();
  ListenAddress address;
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.starts_with('[') && host.ends_with(']');
  if (brackets) host = host.substr(1, host.size() - 2);
  address.host = std::string(host);
  unsigned char bytes[16];
  if (inet_pton(brackets ? AF_INET6 : AF_INET, address.host.c_str(), bytes) != 1) return failure();
  const std::string_view digits = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) return failure();
  return address;
}

Config default_config(uid_t uid) {
  Config config;
  config.jobs.scratch = "/var/tmp/ebb-" + std::to_string(uid);
  if (uid == 0) {
    config.state.dir = "/var/lib/ebb";
    config.server.socket = "/run/ebb/ebb.sock";
    return config;
  }
  const auto state = path_from_env("XDG_STATE_HOME");
  config.state.dir = (state ? *state : home_of(uid) / ".local/state") / "ebb";
  const auto runtime = path_from_env("XDG_RUNTIME_DIR");
  config.server.socket = runtime ? *runtime / "ebb/ebb.sock" : config.state.dir / "ebb.sock";
  return config;
}

fs::path default_config_path(uid_t uid) {
  return uid == 0 ? fs::path("/etc/ebb/ebb.toml") : home_of(uid) / ".config/ebb/ebb.toml";
}

fs::path socket_place(const Config& config) {
  const fs::path& socket = config.server.socket;
  const fs::path within = socket.lexically_normal().lexically_relative(config.state.dir.lexically_normal());
  if (within.empty() || *within.begin() == "..") return socket;
  return socket.parent_path() / "run" / socket.filename();
}

void set_state_dir(Config& config, const fs::path& dir) {
  if (config.server.socket == config.state.dir / "ebb.sock") config.server.socket = dir / "ebb.sock";
  config.state.dir = dir;
}

Result<Config> parse_config(std::string_view text, const std::string& file_name, Config base) {
  toml::table table;
  try {
    table = toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    return config_error(file_name + ":" + std::to_string(error.source().begin.line) + ": " +
                        std::string(error.description()));
  }
  const fs::path dir = base.state.dir;
  const fs::path socket = base.server.socket;
  if (auto read = read_table(file_name, table, base); !read) return read.error();
  // The file moved the state directory and said nothing of a socket that lay in it.
  if (base.state.dir != dir && table["server"]["socket"].node() == nullptr && socket == dir / "ebb.sock") {
    base.server.socket = base.state.dir / "ebb.sock";
  }
  return base;
}

Result<void> check_config(const Config& config) {
  if (!config.compat.auth && config.server.listen) {
    auto address = parse_listen(*config.server.listen);
    if (!address) return address.error();
    if (!address->loopback()) {
      return config_error("compat.auth = false lets anyone who reaches " + *config.server.listen +
                          " run jobs; listen on 127.0.0.1 or ::1, or leave authentication on");
    }
  }
  for (const std::string& allowed : config.compat.cors_origins) {
    if (!origin(allowed)) {
      return config_error("compat.cors_origins: '" + allowed +
                          "' is no origin; write scheme, host and port, as \"http://localhost:8081\"");
    }
  }
  if (config.server.socket.native().find('\0') != std::string::npos || config.server.socket.empty()) {
    return config_error("server.socket: a path is needed");
  }
  return {};
}

std::string print_config(const Config& config) {
  std::string out;
  std::string_view section;
  for (const ConfigField& field : config_fields()) {
    if (field.section != section) {
      section = field.section;
      out += (out.empty() ? "[" : "\n[") + std::string(section) + "]\n";
    }
    out += std::string(field.key) + " = " + field.print(config) + "\n";
  }
  for (const auto& [name, job] : config.templates) out += "\n" + print_template(name, job);
  return out;
}

}  // namespace ebb::daemon
