// The keys of the configuration's plain sections, described once: reading, printing and the check for unknown
// keys all follow from this table. Templates have a shape of their own: config_template.cc.
#pragma once

#include <toml++/toml.h>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "ebb/base/result.h"
#include "ebb/daemon/config.h"

namespace ebb::daemon {

struct ConfigField {
  std::string_view section;
  std::string_view key;
  /// The error's message says what is expected; file, line and key are added by the caller.
  std::function<Result<void>(const toml::node&, Config&)> read;
  std::function<std::string(const Config&)> print;  ///< the value, as TOML
};

/// All of them, those of one section together, in the order in which they are printed.
[[nodiscard]] std::span<const ConfigField> config_fields();

[[nodiscard]] std::string toml_string(std::string_view text);
[[nodiscard]] std::string toml_strings(const std::vector<std::string>& words);
/// "a string", "an integer", … for errors.
[[nodiscard]] std::string_view type_name(const toml::node& node);
[[nodiscard]] Error config_error(std::string message);
/// "FILE:LINE: KEY: MESSAGE".
[[nodiscard]] Error config_error_at(const std::string& file, const toml::node& node, const std::string& key,
                                    const std::string& message);
/// The error for a key that nobody knows; suggests the nearest of `known`.
[[nodiscard]] Error unknown_key(const std::string& file, const toml::key& key, const std::string& path,
                                const std::vector<std::string>& known);
[[nodiscard]] Result<std::string> read_string(const toml::node& node);
[[nodiscard]] Result<std::vector<std::string>> read_strings(const toml::node& node);
[[nodiscard]] Result<std::int64_t> read_integer(const toml::node& node, std::int64_t min, std::int64_t max);

/// [templates.NAME].
[[nodiscard]] Result<void> read_templates(const std::string& file, const toml::table& table, Config& config);
[[nodiscard]] std::string print_template(const std::string& name, const JobTemplate& job_template);

}  // namespace ebb::daemon
