#include "launch_plan.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "ebb/base/files.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/orphans.h"
#include "ebb/process/scratch.h"
#include "placeholders.h"
#include "templates.h"

namespace ebb::daemon {
namespace {

// A bound that a fork bomb meets before it takes the machine's processes; threads count.
constexpr std::uint64_t kMostProcesses = 8192;

struct LimitName {
  int resource;
  const char* name;
};
// Without RLIMIT_LOCKS, which limits nothing and marks a job's processes (process/orphans.h): that of a job
// that submits another one is not the other's.
constexpr std::array kLimitNames = {
    LimitName{RLIMIT_CPU, "cpu"},
    LimitName{RLIMIT_FSIZE, "fsize"},
    LimitName{RLIMIT_DATA, "data"},
    LimitName{RLIMIT_STACK, "stack"},
    LimitName{RLIMIT_CORE, "core"},
    LimitName{RLIMIT_RSS, "rss"},
    LimitName{RLIMIT_NPROC, "nproc"},
    LimitName{RLIMIT_NOFILE, "nofile"},
    LimitName{RLIMIT_MEMLOCK, "memlock"},
    LimitName{RLIMIT_AS, "as"},
    LimitName{RLIMIT_SIGPENDING, "sigpending"},
    LimitName{RLIMIT_MSGQUEUE, "msgqueue"},
    LimitName{RLIMIT_NICE, "nice"},
    LimitName{RLIMIT_RTPRIO, "rtprio"},
    LimitName{RLIMIT_RTTIME, "rttime"},
};

std::string joined(const std::vector<int>& numbers) {
  std::string text;
  for (const int number : numbers) text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

// In one pass over what is inherited, which may have a name twice: a request may set a hundred thousand
// names, and this is the thread that serves everybody.
std::vector<std::string> laid_over(const std::vector<std::string>& inherited,
                                   const std::map<std::string, std::string>& set) {
  std::vector<std::string> environment;
  environment.reserve(inherited.size() + set.size());
  for (const std::string& entry : inherited) {
    if (!set.contains(entry.substr(0, entry.find('=')))) environment.push_back(entry);
  }
  for (const auto& [name, value] : set) environment.push_back(name + "=" + value);
  return environment;
}

std::filesystem::path config_file(const Context& context, AttemptId id) {
  return context.scratch_folder(id) / "config.json";
}

}  // namespace

std::string visible_devices(const Context& context, const std::vector<int>& gpus) {
  std::string text;
  for (const int id : gpus) text += (text.empty() ? "" : ",") + devices::cuda_name(context.gpu(id));
  return text;
}

std::map<std::string, std::uint64_t> limits_by_name(const std::vector<process::ProcLimit>& limits) {
  std::map<std::string, std::uint64_t> named;
  for (const process::ProcLimit& limit : limits) {
    for (const LimitName& known : kLimitNames) {
      if (known.resource == limit.resource) named[known.name] = limit.soft;
    }
  }
  return named;
}

Result<std::map<std::string, std::uint64_t>> take_own_limits() {
  const auto text = process::read_proc_file(::getpid(), "limits");
  if (!text) return text.error();
  const auto before = process::parse_proc_limits(*text);
  if (!before) return before.error();
  // Every connection, log and keeper needs a descriptor; the soft limit is often 1,024.
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  // Too little for a file, and the one value at which the kernel starts no program for dumps either (core(5)
  // says of others that such a program ignores them).
  rlimit core{};
  if (::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max != 0) {
    core.rlim_cur = 1;
    (void)::setrlimit(RLIMIT_CORE, &core);
  }
  return limits_by_name(*before);
}

Result<process::LaunchSpec> plan_launch(const Context& context, const store::JobRow& job,
                                        const LaunchFacts& facts) {
  const model::JobSpec& spec = job.spec;
  const store::Surroundings& around = job.surroundings;
  const std::string scratch = context.scratch_folder(facts.id).string();

  process::LaunchSpec launch;
  launch.label = facts.id.str();
  launch.workdir = around.workdir.empty() ? scratch : around.workdir;

  std::map<std::string, std::string> fields;
  if (job.origin) {
    auto origin = parse_origin(*job.origin);
    if (!origin) return std::move(origin).error();
    fields = std::move(origin->fields);
  }
  const PlaceholderValues values = [&](std::string_view name) -> std::optional<std::string> {
    if (name == "job_id") return facts.id.job.str();
    if (name == "gpus") return visible_devices(context, facts.leases.gpus);
    if (name == "scratch") return scratch;
    if (name == "workdir") return launch.workdir;
    if (name == "config_file" && job.origin) return config_file(context, facts.id).string();
    std::size_t index = 0;
    if (name.starts_with("port:")) {
      const auto [end, failure] = std::from_chars(name.data() + 5, name.data() + name.size(), index);
      if (failure != std::errc() || end != name.data() + name.size()) return std::nullopt;
      name = "port";
    }
    if (name == "port") {
      if (index >= facts.leases.ports.size()) return std::nullopt;
      return std::to_string(facts.leases.ports[index]);
    }
    if (const auto field = fields.find(std::string(name)); field != fields.end()) return field->second;
    return std::nullopt;
  };
  const auto expanded = [&](const std::string& text) {
    return spec.expand ? replace_placeholders(text, values) : text;
  };

  for (const std::string& word : spec.command) launch.argv.push_back(expanded(word));

  std::map<std::string, std::string> set;
  for (const auto& [name, value] : spec.env) set[name] = expanded(value);
  for (const auto& [name, value] : facts.secret_env) set[name] = value;
  set["EBB_JOB_ID"] = facts.id.job.str();
  set["EBB_ATTEMPT"] = std::to_string(facts.id.number);
  set["EBB_GPUS"] = visible_devices(context, facts.leases.gpus);
  set["EBB_PORT"] = facts.leases.ports.empty() ? "" : std::to_string(facts.leases.ports.front());
  set["EBB_PORTS"] = joined(facts.leases.ports);
  set["EBB_SCRATCH"] = scratch;
  set["EBB_SERVER"] = context.config.server.socket.string();
  set["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";
  set["CUDA_VISIBLE_DEVICES"] = visible_devices(context, facts.leases.gpus);
  launch.env = laid_over(around.environment, set);

  if (::geteuid() == 0) {
    launch.identity = process::Identity{.uid = around.uid, .gid = around.gid, .groups = around.groups};
  }
  launch.umask = static_cast<mode_t>(around.umask);
  launch.nice = around.nice;
  for (const LimitName& known : kLimitNames) {
    if (const auto limit = around.limits.find(known.name); limit != around.limits.end()) {
      launch.rlimits.push_back({.resource = known.resource, .soft = limit->second});
    }
  }

  launch.attempt_dir = context.attempt_folder(facts.id).string();
  launch.log_dir = context.log_folder(facts.id).string();
  launch.log_limit_bytes = static_cast<std::uint64_t>(spec.log_limit_bytes);
  launch.share_ipc = spec.share_ipc;
  process::contain(launch, context.containment, static_cast<std::uint64_t>(spec.memory_bytes.value_or(0)),
                   kMostProcesses);
  if (launch.tiers.pidns) {
    launch.hide = {context.config.state.dir.string()};
    // In a private /dev/shm there is nothing to hide.
    const std::string attempts = context.attempts.string();
    const bool private_anyway = attempts.starts_with("/dev/shm/") && !launch.share_ipc;
    if (context.attempts.parent_path() != context.config.state.dir && !private_anyway)
      launch.hide.push_back(attempts);
    launch.reachable = {context.config.server.socket.string()};
    const std::filesystem::path place = socket_place(context.config);
    // The folder, not the socket: a later daemon's socket is another file.
    if (place != context.config.server.socket) launch.reachable.push_back(place.parent_path().string());
    launch.mask_devices =
        devices::masked_nodes(context.inventory, facts.leases.gpus, devices::device_minors());
  } else {
    launch.share_ipc = true;
    const std::uint64_t mark = process::attempt_marks(facts.id).limit;
    if (mark != 0) launch.rlimits.push_back({.resource = RLIMIT_LOCKS, .soft = mark});
  }

  launch.time_limit = spec.time;
  launch.grace = spec.grace;
  launch.kill_timeout = context.config.jobs.kill_timeout;
  if (spec.owner_lease) launch.daemon_gone = context.config.jobs.daemon_gone;
  return launch;
}

Result<void> make_places(const Context& context, const store::JobRow& job, AttemptId id,
                         const process::LaunchSpec& spec) {
  const store::Surroundings& around = job.surroundings;
  if (::mkdir(spec.attempt_dir.c_str(), 0700) != 0) {
    return errno_error(errno, "cannot make the attempt's folder " + spec.attempt_dir);
  }
  auto scratch = process::make_scratch(context.config.jobs.scratch, id, around.uid, around.gid);
  if (!scratch) return std::move(scratch).error();
  if (job.origin) {
    auto origin = parse_origin(*job.origin);
    if (!origin) return std::move(origin).error();
    if (!origin->config_json.empty()) {
      const std::filesystem::path file = config_file(context, id);
      if (auto written = replace_file(file, origin->config_json, 0600); !written) return written;
      if (::geteuid() == 0 && ::lchown(file.c_str(), around.uid, around.gid) != 0) {
        return errno_error(errno, "cannot give " + file.string() + " to the job's user");
      }
    }
  }
  if (spec.tiers.cgroup) {
    if (auto made = process::make_attempt_cgroup(spec.cgroup); !made) return made;
  }
  return {};
}

}  // namespace ebb::daemon
