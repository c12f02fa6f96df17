#include "config_fields.h"

#include <arpa/inet.h>

#include <limits>

#include "ebb/base/units.h"
#include "ebb/devices/inventory.h"
#include "ebb/devices/ports.h"

namespace ebb::daemon {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Gives the place of a value in a Config; called on copies too, so it takes it mutable.
template <typename T>
using Place = T& (*)(Config&);

template <typename T>
T get(Place<T> place, const Config& config) {
  Config copy = config;
  return place(copy);
}

ConfigField boolean(std::string_view section, std::string_view key, Place<bool> place) {
  return {section, key,
          [place](const toml::node& node, Config& config) -> Result<void> {
            const auto* value = node.as_boolean();
            if (value == nullptr) {
              return config_error("must be true or false, not " + std::string(type_name(node)));
            }
            place(config) = value->get();
            return {};
          },
          [place](const Config& config) { return std::string(get(place, config) ? "true" : "false"); }};
}

template <typename T>
ConfigField integer(std::string_view section, std::string_view key, Place<T> place, std::int64_t min,
                    std::int64_t max) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_integer(node, min, max);
            if (!value) return value.error();
            place(config) = static_cast<T>(*value);
            return {};
          },
          [place](const Config& config) { return std::to_string(get(place, config)); }};
}

// `check` may refuse the text.
using TextCheck = Result<void> (*)(const std::string&);
Result<void> any_text(const std::string&) { return {}; }

ConfigField text(std::string_view section, std::string_view key, Place<std::string> place,
                 TextCheck check = any_text) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_string(node);
            if (!value) return value.error();
            if (auto checked = check(*value); !checked) return checked.error();
            place(config) = std::move(*value);
            return {};
          },
          [place](const Config& config) { return toml_string(get(place, config)); }};
}

// A text that may be absent, which the file calls `none`.
ConfigField optional_text(std::string_view section, std::string_view key,
                          Place<std::optional<std::string>> place, std::string none, TextCheck check) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_string(node);
            if (!value) return value.error();
            if (*value == none) {
              place(config).reset();
              return {};
            }
            if (auto checked = check(*value); !checked) return checked.error();
            place(config) = std::move(*value);
            return {};
          },
          [=](const Config& config) { return toml_string(get(place, config).value_or(none)); }};
}

ConfigField path(std::string_view section, std::string_view key, Place<std::filesystem::path> place) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_string(node);
            if (!value) return value.error();
            if (!std::filesystem::path(*value).is_absolute()) {
              return config_error("'" + *value + "' is not an absolute path");
            }
            place(config) = *value;
            return {};
          },
          [place](const Config& config) { return toml_string(get(place, config).string()); }};
}

Result<Duration> read_duration(const toml::node& node, Duration min, Duration max) {
  auto value = read_string(node);
  if (!value) return config_error("must be a string with a unit, such as \"10s\"");
  auto duration = parse_duration(*value);
  if (!duration) return duration.error();
  if (*duration < min || *duration > max) {
    return config_error("'" + *value + "' is out of range; " + write_duration(min) + " to " +
                        write_duration(max));
  }
  return duration;
}

ConfigField duration(std::string_view section, std::string_view key, Place<Duration> place, Duration min,
                     Duration max) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_duration(node, min, max);
            if (!value) return value.error();
            place(config) = *value;
            return {};
          },
          [place](const Config& config) { return toml_string(write_duration(get(place, config))); }};
}

// A duration that may be absent, which the file calls "none".
ConfigField optional_duration(std::string_view section, std::string_view key,
                              Place<std::optional<Duration>> place, Duration min, Duration max) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            if (node.value<std::string_view>() == "none") {
              place(config).reset();
              return {};
            }
            auto value = read_duration(node, min, max);
            if (!value) return value.error();
            place(config) = *value;
            return {};
          },
          [place](const Config& config) {
            const auto value = get(place, config);
            return value ? toml_string(write_duration(*value)) : std::string("\"none\"");
          }};
}

Result<std::int64_t> read_size(const toml::node& node, std::int64_t min, std::int64_t max) {
  auto value = read_string(node);
  if (!value) return config_error("must be a string with a unit, such as \"1MiB\"");
  auto size = parse_size(*value);
  if (!size) return size.error();
  if (*size < min || *size > max) {
    return config_error("'" + *value + "' is out of range; " + format_size(min) + " to " + format_size(max));
  }
  return size;
}

// A size that parse_size() reads back exactly.
std::string write_size(std::int64_t bytes) {
  constexpr std::int64_t kMi = 1 << 20;
  return toml_string(bytes % kMi == 0 && bytes != 0 ? std::to_string(bytes / kMi) + "MiB"
                                                    : std::to_string(bytes) + "B");
}

ConfigField size(std::string_view section, std::string_view key, Place<std::int64_t> place, std::int64_t min,
                 std::int64_t max) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_size(node, min, max);
            if (!value) return value.error();
            place(config) = *value;
            return {};
          },
          [place](const Config& config) { return write_size(get(place, config)); }};
}

ConfigField strings(std::string_view section, std::string_view key, Place<std::vector<std::string>> place) {
  return {section, key,
          [=](const toml::node& node, Config& config) -> Result<void> {
            auto value = read_strings(node);
            if (!value) return value.error();
            place(config) = std::move(*value);
            return {};
          },
          [place](const Config& config) { return toml_strings(get(place, config)); }};
}

Result<void> check_listen(const std::string& value) {
  auto parsed = parse_listen(value);
  return parsed ? Result<void>() : Result<void>(parsed.error());
}
Result<void> check_gpus(const std::string& value) {
  auto parsed = devices::parse_gpu_choice(value);
  return parsed ? Result<void>() : Result<void>(parsed.error());
}
Result<void> check_ports(const std::string& value) {
  auto parsed = devices::parse_port_range(value);
  return parsed ? Result<void>() : Result<void>(parsed.error());
}
Result<void> check_ip(const std::string& value) {
  unsigned char bytes[16];
  if (inet_pton(AF_INET, value.c_str(), bytes) == 1 || inet_pton(AF_INET6, value.c_str(), bytes) == 1)
    return {};
  return config_error("'" + value + "' is no IP address; write for example \"127.0.0.1\" or \"0.0.0.0\"");
}
Result<void> check_host(const std::string& value) {
  const bool good =
      !value.empty() && value.size() <= 253 &&
      value.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") ==
          std::string::npos;
  return good ? Result<void>() : config_error("'" + value + "' is no host name or IP address");
}

ConfigField on_stop() {
  return {
      "jobs", "on_stop",
      [](const toml::node& node, Config& config) -> Result<void> {
        auto value = read_string(node);
        if (!value) return value.error();
        if (*value != "end" && *value != "keep") {
          return config_error("'" + *value +
                              "' must be \"end\" (end all jobs) or \"keep\" (leave them running)");
        }
        config.jobs.keep_on_stop = *value == "keep";
        return {};
      },
      [](const Config& config) { return std::string(config.jobs.keep_on_stop ? "\"keep\"" : "\"end\""); }};
}

ConfigField cpus() {
  return {"defaults", "cpus",
          [](const toml::node& node, Config& config) -> Result<void> {
            const auto value = node.value<double>();
            if (!node.is_number() || !value) {
              return config_error("must be a number, not " + std::string(type_name(node)));
            }
            if (!(*value > 0 && *value <= 10'000)) return config_error("is out of range; above 0 to 10000");
            config.defaults.cpus = *value;
            return {};
          },
          [](const Config& config) {
            toml::value<double> number{config.defaults.cpus};
            std::ostringstream out;
            out << toml::toml_formatter{number};
            return out.str();
          }};
}

ConfigField default_memory() {
  return {"defaults", "memory",
          [](const toml::node& node, Config& config) -> Result<void> {
            if (node.value<std::string_view>() == "none") {
              config.defaults.memory_bytes.reset();
              return {};
            }
            auto value = read_size(node, 1, std::int64_t{1} << 60);
            if (!value) return value.error();
            config.defaults.memory_bytes = *value;
            return {};
          },
          [](const Config& config) {
            return config.defaults.memory_bytes ? write_size(*config.defaults.memory_bytes)
                                                : std::string("\"none\"");
          }};
}

// The long lambdas that name one member each.
#define EBB_PLACE(member) +[](Config& config) -> auto& { return config.member; }

std::vector<ConfigField> make_fields() {
  constexpr std::int64_t kMost = 1'000'000'000;
  const Duration year = hours(24 * 365);
  return {
      path("server", "socket", EBB_PLACE(server.socket)),
      optional_text("server", "listen", EBB_PLACE(server.listen), "none", check_listen),
      boolean("server", "registration", EBB_PLACE(server.registration)),
      size("server", "max_body", EBB_PLACE(server.max_body), 1024, std::int64_t{64} << 20),
      path("state", "dir", EBB_PLACE(state.dir)),
      text("gpus", "use", EBB_PLACE(gpus.use), check_gpus),
      strings("gpus", "ignore", EBB_PLACE(gpus.ignore)),
      integer("gpus", "free_memory_mib", EBB_PLACE(gpus.free_memory_mib), 0, 1 << 20),
      optional_text("ports", "range", EBB_PLACE(ports.range), "auto", check_ports),
      text("jobs", "bind", EBB_PLACE(jobs.bind), check_ip),
      text("jobs", "advertise", EBB_PLACE(jobs.advertise), check_host),
      path("jobs", "scratch", EBB_PLACE(jobs.scratch)),
      text("jobs", "account", EBB_PLACE(jobs.account)),
      boolean("jobs", "allow_root", EBB_PLACE(jobs.allow_root)),
      on_stop(),
      duration("jobs", "daemon_gone", EBB_PLACE(jobs.daemon_gone), Duration(0), year),
      duration("jobs", "kill_timeout", EBB_PLACE(jobs.kill_timeout), milliseconds(100), hours(1)),
      duration("jobs", "gpu_release_timeout", EBB_PLACE(jobs.gpu_release_timeout), milliseconds(100),
               hours(1)),
      integer("queue", "max_running", EBB_PLACE(queue.max_running), 1, 100'000),
      integer("queue", "max_queued", EBB_PLACE(queue.max_queued), 0, kMost),
      integer("queue", "max_per_user", EBB_PLACE(queue.max_per_user), 1, kMost),
      duration("queue", "overtake", EBB_PLACE(queue.overtake), Duration(0), year),
      integer("history", "jobs", EBB_PLACE(history.jobs), 0, kMost),
      optional_duration("history", "max_age", EBB_PLACE(history.max_age), seconds(1), hours(24 * 3650)),
      duration("history", "min_age", EBB_PLACE(history.min_age), Duration(0), hours(24)),
      size("history", "logs", EBB_PLACE(history.logs), 0, std::int64_t{1} << 60),
      integer("defaults", "gpus", EBB_PLACE(defaults.gpus), 0, 1024),
      integer("defaults", "ports", EBB_PLACE(defaults.ports), 0, 10'000),
      cpus(),
      default_memory(),
      optional_duration("defaults", "time", EBB_PLACE(defaults.time), milliseconds(1), hours(24 * 3650)),
      duration("defaults", "grace", EBB_PLACE(defaults.grace), Duration(0), hours(24)),
      integer("defaults", "priority", EBB_PLACE(defaults.priority), -1000, 1000),
      duration("defaults", "ready_timeout", EBB_PLACE(defaults.ready_timeout), milliseconds(1), hours(24)),
      duration("defaults", "owner_lease", EBB_PLACE(defaults.owner_lease), seconds(1), hours(24)),
      size("defaults", "log_limit", EBB_PLACE(defaults.log_limit_bytes), 4096, std::int64_t{1} << 50),
      boolean("defaults", "share_ipc", EBB_PLACE(defaults.share_ipc)),
      boolean("defaults", "clean_env", EBB_PLACE(defaults.clean_env)),
      boolean("compat", "auth", EBB_PLACE(compat.auth)),
      strings("compat", "cors_origins", EBB_PLACE(compat.cors_origins)),
  };
}
#undef EBB_PLACE

}  // namespace

std::span<const ConfigField> config_fields() {
  static const std::vector<ConfigField> fields = make_fields();
  return fields;
}

}  // namespace ebb::daemon
