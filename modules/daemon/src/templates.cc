#include "templates.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>

#include "ebb/model/json.h"
#include "placeholders.h"

namespace ebb::daemon {
namespace {

namespace json = boost::json;

// The text that stands for a value of the config in a command; nothing for null and false.
std::optional<std::string> text_of(const json::value& value) {
  if (value.is_null() || (value.is_bool() && !value.get_bool())) return std::nullopt;
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_bool()) return "true";
  if (value.is_double()) {  // "0.001", where the JSON library says 1E-3
    std::array<char, 64> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value.get_double());
    return std::string(text.data(), end.ptr);
  }
  return json::serialize(value);
}

// A token is something that lets one in. A tokenizer does not, nor a number or switch that is about a model's
// tokens: tokenizer_path, max_new_tokens, add_bos_token.
bool names_token(std::string_view lower_key, const json::value& value) {
  if (value.is_number() || value.is_bool()) return false;
  constexpr std::string_view kToken = "token";
  for (std::size_t at = lower_key.find(kToken); at != std::string_view::npos;
       at = lower_key.find(kToken, at + 1)) {
    if (!lower_key.substr(at + kToken.size()).starts_with("iz")) return true;
  }
  return false;
}

// *_key, *secret*, *password* and *token*, in any case.
bool is_secret(std::string_view key, const json::value& value) {
  std::string lower(key);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const auto has = [&](std::string_view part) { return lower.find(part) != std::string::npos; };
  return lower.ends_with("_key") || has("secret") || has("password") || names_token(lower, value);
}

void without_secrets(json::value& value) {
  if (auto* object = value.if_object()) {
    for (auto it = object->begin(); it != object->end();) {
      if (is_secret(std::string_view(it->key().data(), it->key().size()), it->value())) {
        it = object->erase(it);
      } else {
        without_secrets(it->value());
        ++it;
      }
    }
  } else if (auto* array = value.if_array()) {
    for (auto& element : *array) without_secrets(element);
  }
}

// "config.a.b": the value at that path.
std::optional<std::string> config_value(const json::value& config, std::string_view path) {
  const json::value* at = &config;
  while (!path.empty()) {
    const std::size_t dot = path.find('.');
    const auto* object = at->if_object();
    if (object == nullptr) return std::nullopt;
    at = object->if_contains(path.substr(0, dot));
    if (at == nullptr) return std::nullopt;
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
  }
  return text_of(*at);
}

// Known only once the job runs; always has a value then.
bool comes_later(std::string_view name) {
  return name == "job_id" || name == "gpus" || name == "scratch" || name == "workdir" || name == "host" ||
         name == "advertise" || name == "config_file" || name == "port" || name.starts_with("port:");
}

Error field_error(std::string_view name, const std::string& message) {
  return Error{.code = Errc::invalid, .message = message, .pointer = "/" + std::string(name), .type = {}};
}

}  // namespace

Result<FilledTemplate> fill_template(const JobTemplate& job_template, const Submission::FromTemplate& from,
                                     const Config& config) {
  FilledTemplate filled;
  json::value document;
  if (from.config_json) {
    auto parsed = model::parse_json(*from.config_json);
    if (!parsed) return std::move(parsed).error();
    document = std::move(*parsed);
    without_secrets(document);
    filled.config_json = json::serialize(document);
  }
  const auto value_of = [&](std::string_view name) -> std::optional<std::string> {
    if (const auto field = from.fields.find(std::string(name)); field != from.fields.end())
      return field->second;
    if (name.starts_with("config.")) return config_value(document, name.substr(7));
    return std::nullopt;
  };
  // Takes a word if every placeholder in it has a value; remembers the values.
  std::optional<Error> problem;
  const auto take = [&](const std::string& word) {
    bool whole = true;
    each_placeholder(word, [&](std::string_view name) {
      const bool flag = name.ends_with('?');  // stands for nothing, but decides whether its array stays
      const std::string_view plain = flag ? name.substr(0, name.size() - 1) : name;
      if (comes_later(plain)) return;
      const auto value = value_of(plain);
      if (!value) {
        whole = false;
        return;
      }
      if (flag) {
        filled.fields[std::string(name)] = "";
        return;
      }
      const std::size_t at = word.find("{" + std::string(name) + "}");
      const bool after_equals = at > 0 && word[at - 1] == '=';
      if (value->starts_with('-') && at == 0 && !after_equals) {
        problem = field_error(
            plain, "the value of " + std::string(plain) + " begins with '-' and would be read as an option");
      }
      filled.fields[std::string(name)] = *value;
    });
    return whole;
  };
  std::vector<std::string> command;
  for (const TemplateWord& entry : job_template.command) {
    if (const auto* word = std::get_if<std::string>(&entry)) {
      if (!take(*word) && !problem) {
        problem = Error{.code = Errc::invalid,
                        .message = "the template '" + from.name + "' needs a value for a placeholder in '" +
                                   *word + "', and the request has none",
                        .pointer = {},
                        .type = {}};
      }
      command.push_back(*word);
      continue;
    }
    const auto& group = std::get<std::vector<std::string>>(entry);
    if (!std::all_of(group.begin(), group.end(), take)) continue;
    for (const std::string& word : group) {
      // A word that is a flag alone ("{trust_remote_code?}") stands for nothing at all.
      const bool flag_only =
          word.starts_with('{') && word.ends_with("?}") && word.find('}') == word.size() - 1;
      if (!flag_only) command.push_back(word);
    }
  }
  if (problem) return std::move(*problem);

  model::JobRequest& request = filled.request;
  request.command = std::move(command);
  request.gpus = from.gpus           ? from.gpus
                 : job_template.gpus ? std::optional<std::int64_t>(*job_template.gpus)
                                     : std::nullopt;
  request.ports = job_template.ports;
  request.workdir = job_template.workdir;
  request.env = job_template.env;
  request.name = from.name;
  if (job_template.ready) {
    request.ready = model::Ready{.path = job_template.ready->path,
                                 .timeout_s = double(job_template.ready->timeout.count()) / 1e6};
  }
  filled.fields["host"] = config.jobs.bind;
  filled.fields["advertise"] = config.jobs.advertise;
  return filled;
}

std::string write_origin(const Origin& origin) {
  json::object fields;
  for (const auto& [name, value] : origin.fields) fields[name] = value;
  return json::serialize(
      json::object{{"template", origin.name}, {"fields", std::move(fields)}, {"config", origin.config_json}});
}

Result<Origin> parse_origin(std::string_view text) {
  auto parsed = model::parse_json(text, {.bytes = 8 << 20, .depth = 32});
  if (!parsed) return std::move(parsed).error();
  const auto* object = parsed->if_object();
  const auto* name = object ? object->if_contains("template") : nullptr;
  const auto* fields = object ? object->if_contains("fields") : nullptr;
  const auto* config = object ? object->if_contains("config") : nullptr;
  if (!name || !name->is_string() || !fields || !fields->is_object() || !config || !config->is_string()) {
    return Error{
        .code = Errc::corrupt, .message = "a stored job's origin does not read", .pointer = {}, .type = {}};
  }
  Origin origin{.name = std::string(name->get_string()),
                .fields = {},
                .config_json = std::string(config->get_string())};
  for (const auto& [key, value] : fields->get_object()) {
    if (value.is_string()) origin.fields[std::string(key)] = std::string(value.get_string());
  }
  return origin;
}

}  // namespace ebb::daemon
