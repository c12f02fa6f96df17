#include "row_codec.h"

#include <array>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>

#include "ebb/model/json.h"

namespace ebb::store {
namespace {

namespace json = boost::json;
using model::JobSpec;

Error damaged(std::string_view what) {
  return {.code = Errc::corrupt,
          .message = "the database holds a " + std::string(what) + " that cannot be read",
          .pointer = {},
          .type = {}};
}

// What we wrote ourselves; names of files in it need not be UTF-8.
Result<json::value> parse(std::string_view text, std::string_view what, json::storage_ptr storage) {
  json::error_code failure;
  json::parse_options options;
  options.allow_invalid_utf8 = true;
  json::value value = json::parse(text, failure, std::move(storage), options);
  if (failure || !value.is_object()) return damaged(what);
  return value;
}

// Reads members of one object; remembers whether all had the type that was asked for.
class Reader {
 public:
  explicit Reader(const json::object& object) : object_(object) {}

  template <typename T>
  void integer(std::string_view name, T& out) {
    if (const json::value* value = object_.if_contains(name)) out = number<T>(*value);
  }
  void real(std::string_view name, double& out) {
    if (const json::value* value = object_.if_contains(name)) {
      out = value->is_double() ? value->get_double() : double(number<std::int64_t>(*value));
    }
  }
  void flag(std::string_view name, bool& out) {
    if (const json::value* value = object_.if_contains(name)) {
      good_ = good_ && value->is_bool();
      out = value->is_bool() && value->get_bool();
    }
  }
  template <typename T>
  void optional(std::string_view name, std::optional<T>& out) {
    if (const json::value* value = object_.if_contains(name)) out = T(number<std::int64_t>(*value));
  }
  void text(std::string_view name, std::string& out) {
    if (const json::value* value = object_.if_contains(name)) out = string(*value);
  }
  template <typename T>
  void list(std::string_view name, std::vector<T>& out) {
    const json::value* value = object_.if_contains(name);
    if (value == nullptr) return;
    if (!value->is_array()) return fail();
    out.reserve(value->get_array().size());
    for (const json::value& element : value->get_array()) {
      if constexpr (std::is_integral_v<T>) {
        out.push_back(number<T>(element));
      } else {
        out.push_back(string(element));
      }
    }
  }
  template <typename T>
  void map(std::string_view name, std::map<std::string, T>& out) {
    const json::value* value = object_.if_contains(name);
    if (value == nullptr) return;
    if (!value->is_object()) return fail();
    for (const auto& member : value->get_object()) {
      if constexpr (std::is_integral_v<T>) {
        out.emplace(member.key(), number<T>(member.value()));
      } else {
        out.emplace(member.key(), string(member.value()));
      }
    }
  }
  void fail() { good_ = false; }
  [[nodiscard]] bool good() const { return good_; }

 private:
  template <typename T>
  T number(const json::value& value) {
    if (value.is_int64()) return static_cast<T>(value.get_int64());
    if (value.is_uint64()) return static_cast<T>(value.get_uint64());
    good_ = false;
    return {};
  }
  std::string string(const json::value& value) {
    if (value.is_string()) return {value.get_string().data(), value.get_string().size()};
    good_ = false;
    return {};
  }

  const json::object& object_;
  bool good_ = true;
};

// Enough for nearly every row, so that reading one allocates nothing for the tree.
using Scratch = std::array<unsigned char, 8192>;

constexpr std::array kStates = {model::JobState::queued,    model::JobState::starting,
                                model::JobState::running,   model::JobState::releasing,
                                model::JobState::completed, model::JobState::failed,
                                model::JobState::cancelled};

}  // namespace

std::string write_spec(const JobSpec& spec) {
  const JobSpec plain;
  Scratch scratch;
  json::monotonic_resource memory(scratch.data(), scratch.size());
  json::object out(&memory);
  out.reserve(8);
  out.emplace("command", json::array(spec.command.begin(), spec.command.end(), &memory));
  const auto add = [&](std::string_view name, const auto& value, const auto& usual) {
    if (value != usual) out.emplace(name, value);
  };
  const auto add_list = [&](std::string_view name, const auto& list) {
    if (!list.empty()) out.emplace(name, json::array(list.begin(), list.end(), &memory));
  };
  add("gpus", spec.gpus, plain.gpus);
  add_list("gpu_ids", spec.gpu_ids);
  add("ports", spec.ports, plain.ports);
  add("cpus", spec.cpus, plain.cpus);
  if (spec.memory_bytes) out.emplace("memory_bytes", *spec.memory_bytes);
  if (spec.time) out.emplace("time_us", spec.time->count());
  add("grace_us", spec.grace.count(), Duration::rep{0});
  add("priority", spec.priority, plain.priority);
  if (!spec.env.empty()) {
    json::object& env = out.emplace("env", json::object(&memory)).first->value().get_object();
    env.reserve(spec.env.size());
    for (const auto& [name, value] : spec.env) env.emplace(name, value);
  }
  add("clean_env", spec.clean_env, plain.clean_env);
  if (spec.workdir) out.emplace("workdir", *spec.workdir);
  if (spec.ready) {
    out.emplace("ready_path", spec.ready->path);
    out.emplace("ready_timeout_us", spec.ready->timeout.count());
  }
  if (spec.owner_lease) out.emplace("owner_lease_us", spec.owner_lease->count());
  out.emplace("log_limit_bytes", spec.log_limit_bytes);
  add("share_ipc", spec.share_ipc, plain.share_ipc);
  add("expand", spec.expand, plain.expand);
  return json::serialize(out);
}

Result<JobSpec> read_spec(std::string_view text) {
  Scratch scratch;
  json::monotonic_resource memory(scratch.data(), scratch.size());
  auto value = parse(text, "job", &memory);
  if (!value) return std::move(value).error();
  const json::object& object = value->get_object();
  Reader in(object);
  JobSpec spec;
  in.list("command", spec.command);
  in.integer("gpus", spec.gpus);
  in.list("gpu_ids", spec.gpu_ids);
  in.integer("ports", spec.ports);
  in.real("cpus", spec.cpus);
  in.optional("memory_bytes", spec.memory_bytes);
  in.optional("time_us", spec.time);
  Duration::rep grace = 0;
  in.integer("grace_us", grace);
  spec.grace = Duration(grace);
  in.integer("priority", spec.priority);
  in.map("env", spec.env);
  in.flag("clean_env", spec.clean_env);
  if (object.contains("workdir")) in.text("workdir", spec.workdir.emplace());
  if (object.contains("ready_path")) {
    auto& ready = spec.ready.emplace(model::JobSpec::ReadyCheck{});  // clang 19 finds no other way
    in.text("ready_path", ready.path);
    Duration::rep timeout = 0;
    in.integer("ready_timeout_us", timeout);
    ready.timeout = Duration(timeout);
  }
  in.optional("owner_lease_us", spec.owner_lease);
  in.integer("log_limit_bytes", spec.log_limit_bytes);
  in.flag("share_ipc", spec.share_ipc);
  in.flag("expand", spec.expand);
  if (!in.good()) return damaged("job");
  return spec;
}

std::string write_surroundings(const Surroundings& surroundings) {
  json::object out;
  out.emplace("uid", surroundings.uid);
  out.emplace("gid", surroundings.gid);
  out.emplace("groups", json::array(surroundings.groups.begin(), surroundings.groups.end()));
  out.emplace("umask", surroundings.umask);
  out.emplace("nice", surroundings.nice);
  json::object limits;
  for (const auto& [name, value] : surroundings.limits) limits.emplace(name, value);
  out.emplace("limits", std::move(limits));
  return json::serialize(out);
}

Result<Surroundings> read_surroundings(std::string_view text) {
  auto value = parse(text, "submitter's identity", {});
  if (!value) return std::move(value).error();
  const json::object& object = value->get_object();
  Reader in(object);
  Surroundings surroundings;
  // A missing uid must not read as root's.
  if (!object.contains("uid") || !object.contains("gid")) in.fail();
  in.integer("uid", surroundings.uid);
  in.integer("gid", surroundings.gid);
  in.list("groups", surroundings.groups);
  in.integer("umask", surroundings.umask);
  in.integer("nice", surroundings.nice);
  in.map("limits", surroundings.limits);
  if (!in.good()) return damaged("submitter's identity");
  return surroundings;
}

std::string write_environment(const std::vector<std::string>& environment) {
  std::string body;
  std::size_t size = 0;
  for (const std::string& variable : environment) size += variable.size() + 1;
  body.reserve(size);
  for (const std::string& variable : environment) {
    body += variable;
    body += '\0';
  }
  return body;
}

std::vector<std::string> read_environment(std::string_view body) {
  std::vector<std::string> environment;
  while (!body.empty()) {
    const std::size_t end = body.find('\0');
    environment.emplace_back(body.substr(0, end));
    body.remove_prefix(end == std::string_view::npos ? body.size() : end + 1);
  }
  return environment;
}

std::string write_numbers(const std::vector<int>& numbers) {
  std::string text;
  for (const int number : numbers) {
    if (!text.empty()) text += ' ';
    text += std::to_string(number);
  }
  return text;
}

std::vector<int> read_numbers(std::string_view text) {
  std::vector<int> numbers;
  while (!text.empty()) {
    int number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc()) break;
    numbers.push_back(number);
    text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
    if (text.starts_with(' ')) text.remove_prefix(1);
  }
  return numbers;
}

std::string write_reason(const model::StopReason& reason) { return model::json_text(reason); }

Result<model::StopReason> read_reason(std::string_view text) {
  return model::from_json_text<model::StopReason>(text);
}

int stored_state(model::JobState state) {
  for (std::size_t i = 0; i < kStates.size(); ++i) {
    if (kStates[i] == state) return static_cast<int>(i);
  }
  return 0;
}

model::JobState read_state(int stored) {
  return stored >= 0 && std::size_t(stored) < kStates.size() ? kStates[std::size_t(stored)]
                                                             : model::JobState::queued;
}

}  // namespace ebb::store
