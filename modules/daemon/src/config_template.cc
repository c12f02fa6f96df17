#include "config_fields.h"
#include "ebb/base/units.h"

namespace ebb::daemon {
namespace {

const std::vector<std::string> kKeys = {"command", "gpus", "ports", "ready", "owner", "workdir", "env"};

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
             std::string_view::npos;
}

Result<std::vector<TemplateWord>> read_command(const toml::node& node) {
  const auto* array = node.as_array();
  if (array == nullptr || array->empty()) {
    return config_error("must be an array of words, as [\"python3\", \"server.py\", \"--port\", \"{port}\"]");
  }
  std::vector<TemplateWord> words;
  for (const toml::node& item : *array) {
    if (item.is_array()) {
      auto group = read_strings(item);
      if (!group) return group.error();
      words.emplace_back(std::move(*group));
    } else {
      auto word = read_string(item);
      if (!word) {
        return config_error("element " + std::to_string(words.size() + 1) +
                            " must be a string, or an array of strings");
      }
      words.emplace_back(std::move(*word));
    }
  }
  const auto* program = std::get_if<std::string>(&words.front());
  if (program == nullptr || program->empty()) return config_error("must begin with the program, a string");
  return words;
}

Result<model::JobSpec::ReadyCheck> read_ready(const toml::node& node) {
  const auto* table = node.as_table();
  if (table == nullptr) return config_error("must be a table, as { path = \"/health\", timeout = \"60s\" }");
  model::JobSpec::ReadyCheck ready{.path = {}, .timeout = std::chrono::seconds(60)};
  for (const auto& [key, value] : *table) {
    auto text = read_string(value);
    if (!text) return config_error(std::string(key.str()) + " " + text.error().message);
    if (key.str() == "path") {
      ready.path = std::move(*text);
    } else if (key.str() == "timeout") {
      auto timeout = parse_duration(*text);
      if (!timeout) return timeout.error();
      ready.timeout = *timeout;
    } else {
      return config_error("unknown key '" + std::string(key.str()) + "'; it has path and timeout");
    }
  }
  if (!ready.path.starts_with('/')) return config_error("path must be there and begin with '/'");
  return ready;
}

Result<void> read_env(const toml::node& node, JobTemplate& job) {
  const auto* table = node.as_table();
  if (table == nullptr) return config_error("must be a table, as { NAME = \"value\" }");
  for (const auto& [key, value] : *table) {
    auto text = read_string(value);
    if (!text) return config_error(std::string(key.str()) + " " + text.error().message);
    if (key.empty() || key.str().find_first_of(std::string_view("=\0", 2)) != std::string_view::npos) {
      return config_error("'" + std::string(key.str()) + "' is no name of a variable");
    }
    job.env[std::string(key.str())] = std::move(*text);
  }
  return {};
}

Result<void> read_key(std::string_view key, const toml::node& node, JobTemplate& job) {
  if (key == "command") {
    auto command = read_command(node);
    if (!command) return command.error();
    job.command = std::move(*command);
  } else if (key == "gpus" || key == "ports") {
    auto count = read_integer(node, 0, key == "gpus" ? 1024 : 10'000);
    if (!count) return count.error();
    if (key == "gpus") {
      job.gpus = static_cast<int>(*count);
    } else {
      job.ports = static_cast<int>(*count);
    }
  } else if (key == "ready") {
    auto ready = read_ready(node);
    if (!ready) return ready.error();
    job.ready = std::move(*ready);
  } else if (key == "owner") {
    auto owner = read_string(node);
    if (!owner) return owner.error();
    if (*owner != "connection" && *owner != "none") {
      return config_error("'" + *owner + "' must be \"connection\" or \"none\"");
    }
    job.owner_is_connection = *owner == "connection";
  } else if (key == "workdir") {
    auto workdir = read_string(node);
    if (!workdir) return workdir.error();
    if (!workdir->starts_with('/')) return config_error("'" + *workdir + "' is not an absolute path");
    job.workdir = std::move(*workdir);
  } else {
    return read_env(node, job);
  }
  return {};
}

Result<JobTemplate> read_template(const std::string& file, const toml::table& table,
                                  const std::string& path) {
  JobTemplate job;
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const std::string key_path = path + "." + name;
    if (std::find(kKeys.begin(), kKeys.end(), name) == kKeys.end()) {
      return unknown_key(file, key, key_path, kKeys);
    }
    if (auto read = read_key(name, value, job); !read) {
      return config_error_at(file, value, key_path, read.error().message);
    }
  }
  if (job.command.empty()) return config_error_at(file, table, path, "needs a command");
  if (job.ready && job.ports < 1) {
    return config_error_at(file, table, path, "has ready but no port; add ports = 1");
  }
  return job;
}

}  // namespace

Result<void> read_templates(const std::string& file, const toml::table& table, Config& config) {
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const std::string path = "templates." + name;
    if (!good_name(name)) {
      return config_error_at(file, value, path,
                             "a template's name has letters, digits, '_' and '-', at most 64");
    }
    const auto* fields = value.as_table();
    if (fields == nullptr) return config_error_at(file, value, path, "must be a table");
    auto job = read_template(file, *fields, path);
    if (!job) return job.error();
    config.templates[name] = std::move(*job);
  }
  return {};
}

std::string print_template(const std::string& name, const JobTemplate& job) {
  std::string out = "[templates." + name + "]\ncommand = [";
  for (std::size_t i = 0; i < job.command.size(); ++i) {
    if (i > 0) out += ", ";
    const auto* word = std::get_if<std::string>(&job.command[i]);
    out += word != nullptr ? toml_string(*word)
                           : toml_strings(std::get<std::vector<std::string>>(job.command[i]));
  }
  out += "]\n";
  if (job.gpus) out += "gpus = " + std::to_string(*job.gpus) + "\n";
  out += "ports = " + std::to_string(job.ports) + "\n";
  if (job.ready) {
    out += "ready = { path = " + toml_string(job.ready->path) +
           ", timeout = " + toml_string(write_duration(job.ready->timeout)) + " }\n";
  }
  out += std::string("owner = ") + (job.owner_is_connection ? "\"connection\"" : "\"none\"") + "\n";
  if (job.workdir) out += "workdir = " + toml_string(*job.workdir) + "\n";
  out += "env = {";
  bool first = true;
  for (const auto& [variable, value] : job.env) {
    out += (first ? " " : ", ") + toml_string(variable) + " = " + toml_string(value);
    first = false;
  }
  return out + (first ? "}\n" : " }\n");
}

}  // namespace ebb::daemon
