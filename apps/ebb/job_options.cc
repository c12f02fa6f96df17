#include "job_options.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "ebb/base/units.h"
#include "ebb/client/command_line.h"

namespace ebb::cli {
namespace {

Error usage(std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

Result<void> read_integer(const std::string& text, const std::string& option,
                          std::optional<std::int64_t>& out) {
  if (text.empty()) return {};
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range)
    return usage(option + ' ' + text + ": the number is too large");
  if (error != std::errc() || end != text.data() + text.size()) {
    return usage(option + ' ' + shell_quoted(text) + ": a whole number is needed");
  }
  out = value;
  return {};
}

Result<void> read_seconds(const std::string& text, const std::string& option, std::optional<double>& out) {
  if (text.empty()) return {};
  const auto duration = parse_duration(text);
  if (!duration) return usage(option + ' ' + shell_quoted(text) + ": " + duration.error().message);
  out = to_seconds(*duration);
  return {};
}

Result<void> read_bytes(const std::string& text, const std::string& option,
                        std::optional<std::int64_t>& out) {
  if (text.empty()) return {};
  const auto size = parse_size(text);
  if (!size) return usage(option + ' ' + shell_quoted(text) + ": " + size.error().message);
  out = *size;
  return {};
}

}  // namespace

JobOptions::JobOptions(Parser& parser) {
  parser.show_command();
  // Only for --help: take_command() takes it before the parser sees it.
  parser.add_option("-c", shell_, "run /bin/bash -c STRING in place of CMD");
  parser.add_option("--gpus", gpus_, "how many GPUs (default 0)");
  parser.add_option("--gpu-ids", gpu_ids_, "exactly these GPUs: 2,3");
  parser.add_option("--ports", ports_, "how many TCP ports; {port} in CMD is the first (default 0)");
  parser.add_option("--cpus", cpus_, "weight of its CPU time (default 1)");
  parser.add_option("--memory", memory_, "bound on memory, counted by the queue: 16GiB");
  parser.add_option("--time", time_, "end it after this time: 90min");
  parser.add_option("--grace", grace_, "time between TERM and kill (default 10s)");
  parser.add_option("--priority", priority_, "higher goes first (default 0)");
  parser.add_option("--name", name_, "a name to find it by");
  parser.add_option("--group", group_, "a group to list it with");
  parser.add_list("--env", env_, "K=V, or K to pass on your own value");
  parser.add_list("--env-file", env_files_, "file of lines K=V or K");
  parser.add_flag("--clean-env", clean_env_, "do not pass on your environment, only --env");
  parser.add_option("--workdir", workdir_, "where it runs (default: here)");
  parser.add_option("--ready", ready_, "it runs once GET of this path on its port answers 200");
  parser.add_option("--ready-timeout", ready_timeout_, "it fails when it is not ready by then (default 60s)");
  parser.add_option("--owner-lease", owner_lease_, "how long an attached job outlives a lost client (15s)");
  parser.add_option("--log-limit", log_limit_, "how much of its output is kept (default 1GiB)");
  parser.add_flag("--share-ipc", share_ipc_, "use the host's /dev/shm and SysV IPC");
  parser.add_flag("--no-expand", no_expand_, "leave {placeholders} alone");
  parser.add_flag("--dry-run", dry_run_, "print the request as JSON and make no job");
}

Result<std::optional<double>> JobOptions::owner_lease() const {
  std::optional<double> lease;
  if (auto read = read_seconds(owner_lease_, "--owner-lease", lease); !read) return read.error();
  return lease;
}

Result<void> JobOptions::read_numbers(model::JobRequest& request) const {
  if (auto read = read_integer(gpus_, "--gpus", request.gpus); !read) return read;
  if (auto read = read_integer(ports_, "--ports", request.ports); !read) return read;
  if (auto read = read_integer(priority_, "--priority", request.priority); !read) return read;
  if (!gpu_ids_.empty()) {
    request.gpu_ids.emplace();
    for (const std::string_view word : split(gpu_ids_, ',')) {
      std::optional<std::int64_t> id;
      if (auto read = read_integer(std::string(word), "--gpu-ids", id); !read) return read;
      if (!id)
        return usage("--gpu-ids " + shell_quoted(gpu_ids_) + ": write numbers with commas between: 2,3");
      request.gpu_ids->push_back(*id);
    }
  }
  if (!cpus_.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(cpus_.data(), cpus_.data() + cpus_.size(), value);
    // from_chars() reads "nan" and "inf" too, which no JSON can say.
    if (error != std::errc() || end != cpus_.data() + cpus_.size() || !std::isfinite(value)) {
      return usage("--cpus " + shell_quoted(cpus_) + ": a number is needed, such as 1.5");
    }
    request.cpus = value;
  }
  if (auto read = read_bytes(memory_, "--memory", request.memory_bytes); !read) return read;
  return read_bytes(log_limit_, "--log-limit", request.log_limit_bytes);
}

Result<void> JobOptions::read_durations(model::JobRequest& request) const {
  if (auto read = read_seconds(time_, "--time", request.time_s); !read) return read;
  if (auto read = read_seconds(grace_, "--grace", request.grace_s); !read) return read;
  std::optional<double> timeout;
  if (auto read = read_seconds(ready_timeout_, "--ready-timeout", timeout); !read) return read;
  if (timeout && ready_.empty()) return usage("--ready-timeout needs --ready PATH");
  if (!ready_.empty()) request.ready = model::Ready{.path = ready_, .timeout_s = timeout};
  return {};
}

Result<void> JobOptions::read_environment(model::JobRequest& request) const {
  constexpr std::size_t kLargestFile = 16 << 20;
  std::vector<std::string> lines;
  for (const std::string& file : env_files_) {
    auto text = read_file(file, kLargestFile);
    if (!text) return usage("--env-file: " + text.error().message);
    if (auto parsed = client::parse_env_file(*text, file, lines); !parsed) return parsed;
  }
  lines.insert(lines.end(), env_.begin(), env_.end());
  for (const std::string& line : lines) {
    const auto equals = line.find('=');
    if (equals == 0 || line.empty()) return usage("--env " + shell_quoted(line) + ": write K=V or K");
    const std::string name = line.substr(0, equals);
    if (!request.env) request.env.emplace();
    if (equals != std::string::npos) {
      (*request.env)[name] = line.substr(equals + 1);
    } else if (const char* value = std::getenv(name.c_str())) {
      (*request.env)[name] = value;
    } else {
      return usage("--env " + name + ": you have no variable of that name; give it a value: --env " + name +
                   "=…");
    }
  }
  return {};
}

Result<model::JobRequest> JobOptions::request(const std::vector<std::string>& command,
                                              client::Endpoint::Kind over) const {
  model::JobRequest request;
  request.command = command;
  if (auto read = read_numbers(request); !read) return read.error();
  if (auto read = read_durations(request); !read) return read.error();
  if (auto read = read_environment(request); !read) return read.error();
  if (!name_.empty()) request.name = name_;
  if (!group_.empty()) request.group = group_;
  if (clean_env_) request.clean_env = true;
  if (share_ipc_) request.share_ipc = true;
  if (no_expand_) request.expand = false;
  if (over == client::Endpoint::Kind::tcp) {
    if (workdir_.empty()) {
      return usage(
          "over TCP the job cannot run in your folder; say with --workdir where on the server it runs");
    }
    request.workdir = workdir_;
    if (auto text = client::check_text(request); !text) return text.error();
    return request;
  }
  std::error_code error;
  const auto here = std::filesystem::current_path(error);
  if (error) return usage("your working directory is gone; change to one that exists");
  if (!workdir_.empty()) request.workdir = (here / workdir_).lexically_normal().string();
  if (auto checked = client::check_command(command, request.workdir.value_or(here.string())); !checked) {
    return checked.error();
  }
  if (auto text = client::check_text(request); !text) return text.error();
  return request;
}

Result<std::vector<std::string>> take_command(Parser& parser, Words& words) {
  auto cut = client::cut_words(std::move(words), [&parser](std::string_view option) -> std::optional<bool> {
    const CLI::Option* found = parser.get_option_no_throw(std::string(option));
    if (found == nullptr) return std::nullopt;
    return found->get_items_expected_max() > 0;
  });
  if (!cut) return cut.error();
  words = std::move(cut->options);
  return std::move(cut->command);
}

}  // namespace ebb::cli
