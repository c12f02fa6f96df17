#include <algorithm>
#include <cmath>

#include "ebb/base/text.h"
#include "ebb/base/units.h"
#include "ebb/model/job.h"

namespace ebb::model {
namespace {

constexpr std::int64_t kMostGpus = 4096;
constexpr std::int64_t kMostPorts = 100;
constexpr double kMostCpus = 10'000;
constexpr std::int64_t kLeastMemory = std::int64_t{1} << 20;
constexpr std::int64_t kMostMemory = std::int64_t{1} << 50;
constexpr std::int64_t kLeastLog = std::int64_t{1} << 10;
constexpr std::int64_t kMostLog = std::int64_t{1} << 40;
constexpr std::int64_t kMostPriority = 1000;
constexpr double kDay = 86'400;
constexpr double kLongestTime = 3650 * kDay;
constexpr double kShortestLease = 0.1;
constexpr std::size_t kLongestName = 128;
constexpr std::size_t kLongestPath = 4095;  // PATH_MAX without its NUL
constexpr std::size_t kLongestReadyPath = 1024;
constexpr std::size_t kLongestArgument = 131'071;  // the kernel's MAX_ARG_STRLEN without its NUL
constexpr std::size_t kMostArgumentBytes = 2
                                           << 20;  // a quarter of the usual 8 MiB stack is the kernel's bound

// "/gpu_ids/0" as a person writes it: "gpu_ids[0]".
std::string place(std::string_view pointer) {
  std::string text;
  for (const std::string_view token : split(pointer.substr(1), '/')) {
    if (!token.empty() && token.find_first_not_of("0123456789") == std::string_view::npos) {
      text += "[" + std::string(token) + "]";
    } else {
      text += (text.empty() ? "" : ".") + std::string(token);
    }
  }
  return text;
}

Error wrong(std::string pointer, std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = std::move(pointer), .type = {}};
}

std::string number(double value) {
  std::string text = std::to_string(value);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}
std::string number(std::int64_t value) { return std::to_string(value); }

/// Collects the first thing that is wrong with a request.
class Checks {
 public:
  template <typename T>
  T within(std::string_view pointer, T value, T least, T most, std::string_view unit = {}) {
    if (!(value >= least && value <= most)) {
      std::string range = number(least) + " to " + number(most);
      if (!unit.empty()) range += " " + std::string(unit);
      refuse(pointer, "must be " + range + ", not " + number(value));
    }
    return value;
  }

  Duration seconds(std::string_view pointer, double value, double least, double most) {
    if (!std::isfinite(value) || value < least || value > most) {
      refuse(pointer, "must be " + number(least) + " to " + number(most) + " seconds, not " + number(value));
      return {};
    }
    return Duration(std::llround(value * 1e6));
  }

  void refuse(std::string_view pointer, std::string_view message) {
    if (!error_) error_ = wrong(std::string(pointer), printable(place(pointer)) + " " + std::string(message));
  }
  void refuse(Error error) {
    if (!error_) error_ = std::move(error);
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  std::optional<Error> error_;
};

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

bool has_control(std::string_view text) {
  return std::ranges::any_of(text,
                             [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; });
}

// What one argument or variable takes of the kernel's room: its bytes, its NUL and its pointer.
std::size_t room(std::size_t bytes) { return bytes + 1 + sizeof(char*); }

void check_string(Checks& checks, const std::string& pointer, std::size_t bytes, bool nul) {
  if (nul) checks.refuse(pointer, "contains a NUL byte, which no argument and no variable can hold");
  if (bytes > kLongestArgument) {
    checks.refuse(pointer, "has " + std::to_string(bytes) + " bytes; the kernel takes at most " +
                               std::to_string(kLongestArgument) +
                               " in one argument or variable: put a long text into a file");
  }
}

std::string escaped(std::string_view key) {
  std::string out;
  for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

void check_command(Checks& checks, const JobRequest& request, JobSpec& spec) {
  if (!request.command) {
    checks.refuse(
        wrong("/command", "command is missing: the words to execute, such as [\"python3\", \"train.py\"]"));
    return;
  }
  spec.command = *request.command;
  if (spec.command.empty()) checks.refuse("/command", "is empty: it takes at least the program");
  if (!spec.command.empty() && spec.command.front().empty()) {
    checks.refuse("/command/0", "is empty: it must name the program");
  }
  std::size_t total = 0;
  for (std::size_t i = 0; i < spec.command.size(); ++i) {
    const std::string& word = spec.command[i];
    check_string(checks, "/command/" + std::to_string(i), word.size(), has_nul(word));
    total += room(word.size());
  }
  if (request.env) spec.env = *request.env;
  for (const auto& [name, value] : spec.env) {
    const std::string pointer = "/env/" + escaped(name);
    if (name.empty() || name.find('=') != std::string::npos) {
      checks.refuse(wrong(pointer, name.empty() ? "env has a variable without a name"
                                                : "env: the name of a variable cannot contain '=': " +
                                                      printable(name.substr(0, kLongestName))));
    }
    check_string(checks, pointer, name.size() + 1 + value.size(), has_nul(name) || has_nul(value));
    total += room(name.size() + 1 + value.size());
  }
  if (total > kMostArgumentBytes) {
    checks.refuse(wrong(spec.env.empty() ? "/command" : "/env",
                        "command and env take " + format_size(std::int64_t(total)) +
                            " together; the kernel takes at most " +
                            format_size(std::int64_t(kMostArgumentBytes)) + ": put long texts into files"));
  }
}

void check_gpus(Checks& checks, const JobRequest& request, const JobDefaults& defaults, JobSpec& spec) {
  const bool named = request.gpu_ids && !request.gpu_ids->empty();
  std::int64_t count = request.gpus.value_or(defaults.gpus);
  if (named) {
    for (std::size_t i = 0; i < request.gpu_ids->size(); ++i) {
      const std::int64_t id = (*request.gpu_ids)[i];
      const std::string pointer = "/gpu_ids/" + std::to_string(i);
      checks.within(pointer, id, std::int64_t{0}, kMostGpus - 1);
      if (checks.error()) return;
      spec.gpu_ids.push_back(static_cast<int>(id));
    }
    std::ranges::sort(spec.gpu_ids);
    if (const auto twice = std::ranges::adjacent_find(spec.gpu_ids); twice != spec.gpu_ids.end()) {
      checks.refuse("/gpu_ids", "names GPU " + std::to_string(*twice) + " twice");
    }
    const auto size = std::int64_t(spec.gpu_ids.size());
    if (request.gpus && *request.gpus != size) {
      checks.refuse("/gpus", "is " + number(*request.gpus) + ", but gpu_ids names " + number(size) +
                                 ": leave one of them out");
    }
    count = size;
  }
  spec.gpus = static_cast<int>(checks.within("/gpus", count, std::int64_t{0}, kMostGpus));
}

std::string check_label(Checks& checks, std::string_view pointer, const std::optional<std::string>& given) {
  if (!given) return {};
  if (given->size() > kLongestName) {
    checks.refuse(pointer, "has " + std::to_string(given->size()) + " bytes; at most " +
                               std::to_string(kLongestName) + " are taken");
  }
  if (!is_utf8(*given)) checks.refuse(pointer, "is no UTF-8 text");
  if (has_control(*given)) checks.refuse(pointer, "contains a control character");
  return *given;
}

void check_ready(Checks& checks, const JobRequest& request, const JobDefaults& defaults, JobSpec& spec) {
  if (!request.ready) return;
  const std::string& path = request.ready->path;
  if (!path.starts_with('/')) checks.refuse("/ready/path", "must begin with '/', as /health does");
  if (path.size() > kLongestReadyPath) {
    checks.refuse("/ready/path", "has " + std::to_string(path.size()) + " bytes; at most " +
                                     std::to_string(kLongestReadyPath) + " are taken");
  }
  if (std::ranges::any_of(path, [](char c) { return c <= ' ' || c > '~'; })) {
    checks.refuse("/ready/path", "must be printable ASCII without spaces; write others as %XX");
  }
  if (spec.ports == 0) {
    checks.refuse("/ready", "asks the job's port, but the job asks for no port; add --ports 1");
  }
  spec.ready = JobSpec::ReadyCheck{
      .path = path,
      .timeout =
          checks.seconds("/ready/timeout_s",
                         request.ready->timeout_s.value_or(to_seconds(defaults.ready_timeout)), 0.001, kDay)};
}

void check_workdir(Checks& checks, const JobRequest& request, JobSpec& spec) {
  if (!request.workdir) return;
  if (!request.workdir->starts_with('/')) checks.refuse("/workdir", "must be an absolute path");
  if (request.workdir->size() > kLongestPath) {
    checks.refuse("/workdir", "is longer than " + std::to_string(kLongestPath) + " bytes");
  }
  if (has_nul(*request.workdir)) checks.refuse("/workdir", "contains a NUL byte");
  spec.workdir = request.workdir;
}

}  // namespace

Result<JobSpec> resolve(const JobRequest& request, const JobDefaults& defaults) {
  Checks checks;
  JobSpec spec;
  check_command(checks, request, spec);
  check_gpus(checks, request, defaults, spec);
  spec.ports = static_cast<int>(
      checks.within("/ports", request.ports.value_or(defaults.ports), std::int64_t{0}, kMostPorts));
  spec.cpus = checks.within("/cpus", request.cpus.value_or(defaults.cpus), 0.01, kMostCpus);
  spec.memory_bytes = request.memory_bytes ? request.memory_bytes : defaults.memory_bytes;
  if (spec.memory_bytes) {
    checks.within("/memory_bytes", *spec.memory_bytes, kLeastMemory, kMostMemory, "bytes");
  }
  spec.time = defaults.time;
  if (request.time_s) spec.time = checks.seconds("/time_s", *request.time_s, 0.001, kLongestTime);
  spec.grace = checks.seconds("/grace_s", request.grace_s.value_or(to_seconds(defaults.grace)), 0, kDay);
  spec.priority = static_cast<int>(checks.within("/priority", request.priority.value_or(defaults.priority),
                                                 -kMostPriority, kMostPriority));
  spec.name = check_label(checks, "/name", request.name);
  spec.group = check_label(checks, "/group", request.group);
  spec.clean_env = request.clean_env.value_or(defaults.clean_env);
  check_workdir(checks, request, spec);
  check_ready(checks, request, defaults, spec);
  if (request.owner) {
    spec.owner_lease =
        checks.seconds("/owner/lease_s", request.owner->lease_s.value_or(to_seconds(defaults.owner_lease)),
                       kShortestLease, kDay);
  }
  spec.log_limit_bytes =
      checks.within("/log_limit_bytes", request.log_limit_bytes.value_or(defaults.log_limit_bytes), kLeastLog,
                    kMostLog, "bytes");
  spec.share_ipc = request.share_ipc.value_or(defaults.share_ipc);
  spec.expand = request.expand.value_or(true);
  if (checks.error()) return *checks.error();
  return spec;
}

JobRequest describe(const JobSpec& spec, bool full) {
  JobRequest shown;
  shown.gpus = spec.gpus;
  if (!spec.gpu_ids.empty()) shown.gpu_ids.emplace(spec.gpu_ids.begin(), spec.gpu_ids.end());
  shown.ports = spec.ports;
  shown.cpus = spec.cpus;
  shown.memory_bytes = spec.memory_bytes;
  if (spec.time) shown.time_s = to_seconds(*spec.time);
  if (!full) return shown;
  shown.command = spec.command;
  shown.grace_s = to_seconds(spec.grace);
  shown.priority = spec.priority;
  if (!spec.name.empty()) shown.name = spec.name;
  if (!spec.group.empty()) shown.group = spec.group;
  shown.env = spec.env;
  shown.clean_env = spec.clean_env;
  shown.workdir = spec.workdir;
  if (spec.ready) shown.ready = Ready{.path = spec.ready->path, .timeout_s = to_seconds(spec.ready->timeout)};
  if (spec.owner_lease) shown.owner = OwnerRequest{.lease_s = to_seconds(*spec.owner_lease)};
  shown.log_limit_bytes = spec.log_limit_bytes;
  shown.share_ipc = spec.share_ipc;
  shown.expand = spec.expand;
  return shown;
}

Error quoted_command_error(std::string_view word) {
  constexpr std::size_t kShown = 200;
  const std::string shown = printable(word.substr(0, kShown)) + (word.size() > kShown ? "…" : "");
  return wrong("/command/0", "command not found: " + shell_quoted(shown) +
                                 " is one word with spaces in it, and no such file; words are never split: "
                                 "write it without the quotes, or -c " +
                                 shell_quoted(shown) + " for a shell");
}

}  // namespace ebb::model
