#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <set>

#include "attempt_search.h"
#include "daemon_impl.h"
#include "ebb/base/files.h"
#include "ebb/base/programs.h"
#include "ebb/process/attempts_folder.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/end_record.h"
#include "ebb/process/scratch.h"
#include "launch_plan.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr Duration kDriverLimit = 10s;
constexpr Duration kUnknownLimit = 5s;

std::string counted(std::size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::int64_t machine_memory() {
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return 0;
  return static_cast<std::int64_t>(info.totalram) * info.mem_unit;
}

Task<Result<devices::NvmlList>> ask_driver(Context& context) {
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Result<devices::NvmlList>)>(
      [&context](auto handler) {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        context.nvml->list(kDriverLimit,
                           [shared](Result<devices::NvmlList> list) { (*shared)(std::move(list)); });
      },
      asio::use_awaitable);
}

Task<Result<void>> find_devices(Context& context) {
  const Config& config = context.config;
  auto choice = devices::parse_gpu_choice(config.gpus.use);
  if (!choice) co_return std::move(choice).error();
  auto nvml_program = find_program("ebb-nvml");
  if (!nvml_program) co_return std::move(nvml_program).error();
  context.nvml = std::make_unique<devices::NvmlClient>(context.io, *nvml_program);

  using Kind = devices::GpuChoice::Kind;
  Result<devices::NvmlList> seen = devices::NvmlList{};
  if (choice->kind == Kind::automatic || choice->kind == Kind::listed) seen = co_await ask_driver(context);
  auto inventory = devices::take_inventory(*choice, seen);
  if (!inventory) co_return std::move(inventory).error();
  context.inventory = std::move(*inventory);

  auto baselines = context.store.value(kBaselinesName);
  if (!baselines) co_return std::move(baselines).error();
  if (*baselines) {
    if (auto table = devices::BaselineTable::parse(**baselines)) context.baselines = std::move(*table);
  }
  devices::GpuRules rules;
  rules.free_memory_mib = config.gpus.free_memory_mib;
  rules.ignore = config.gpus.ignore;
  rules.compare_pids = devices::in_initial_pid_namespace();
  context.gpus = std::make_unique<devices::GpuChecker>(context.io, *context.nvml, context.baselines, rules);

  auto machine_locks = devices::LockDirectory::open_machine_wide();
  if (!machine_locks) co_return std::move(machine_locks).error();
  context.machine_locks = std::move(*machine_locks);
  auto private_locks = devices::LockDirectory::open_private(config.state.dir / "locks");
  if (!private_locks) co_return std::move(private_locks).error();
  context.private_locks = std::move(*private_locks);

  std::optional<devices::PortRange> range;
  if (config.ports.range) {
    auto parsed = devices::parse_port_range(*config.ports.range);
    if (!parsed) co_return std::move(parsed).error();
    range = *parsed;
  }
  auto ports = devices::PortPool::open(*context.machine_locks, range);
  if (!ports) co_return std::move(ports).error();
  context.ports = std::move(*ports);
  co_return Result<void>();
}

engine::Machine machine_of(const Context& context) {
  engine::Machine machine;
  for (std::size_t i = 0; i < context.inventory.gpus.size(); ++i) {
    const devices::Gpu& gpu = context.inventory.gpus[i];
    engine::Machine::Gpu known{.id = gpu.id, .numa_node = gpu.numa_node, .links = {}};
    if (i < context.inventory.closeness.size()) known.links = context.inventory.closeness[i];
    machine.gpus.push_back(std::move(known));
  }
  for (int port = context.ports->range().from; port <= context.ports->range().to; ++port) {
    machine.ports.push_back(port);
  }
  machine.memory_bytes = machine_memory();
  return machine;
}

// How far its attempt was known to be: `releasing` only when its tree has ended, not when a stop was all.
model::JobState last_known(const store::JobRecord& record) {
  if (record.state != model::JobState::releasing || record.attempt->ended_at) return record.state;
  return record.attempt->started_at ? model::JobState::running : model::JobState::starting;
}

std::vector<std::string> begun_since_boot(const store::Store& store) {
  std::vector<std::string> names;
  (void)store.each_live_job([&](const store::JobRecord& record) {
    if (record.state != model::JobState::queued && record.attempt && record.attempt->boot_id == boot_id())
      names.push_back(record.attempt->id.str());
  });
  return names;
}

engine::Restored restored(const store::JobRecord& record) {
  engine::Restored event;
  event.job = info_of(record.row);
  if (record.state == model::JobState::queued) {
    if (record.attempt) event.attempts_before = static_cast<int>(record.attempt->id.number);
    return event;
  }
  const store::AttemptRow& attempt = *record.attempt;
  event.attempts_before = static_cast<int>(attempt.id.number) - 1;
  engine::Restored::Attempt live;
  live.number = static_cast<int>(attempt.id.number);
  live.leases = {.gpus = attempt.gpus, .ports = attempt.ports, .memory_bytes = attempt.memory_bytes};
  live.state = last_known(record);
  live.stop_reason = attempt.stop_reason;
  live.stop_asked_at = attempt.stop_asked_at;
  live.started_at = attempt.started_at;
  live.exit = attempt.exit;
  event.attempt = std::move(live);
  return event;
}

}  // namespace

// Groups and scratch folders of attempts that no journal entry says should live: an earlier daemon died
// between an attempt's report and the removal of what is empty by then.
std::size_t Daemon::Impl::remove_strays(const std::set<std::string>& live) const {
  std::size_t count = 0;
  std::set<std::string> kept = live;
  for (const auto& attempt : context->lingering) kept.insert(attempt->id().str());
  const auto ours = [&](const std::string& name) {
    const auto id = AttemptId::parse(name);
    if (!id || kept.contains(name)) return false;
    const auto known = context->store.known(id->job);
    return known && *known;
  };
  std::error_code ignored;
  if (context->containment.cgroup.available) {
    for (const auto& entry : std::filesystem::directory_iterator(context->containment.cgroup_base, ignored)) {
      if (!ours(entry.path().filename().string())) continue;
      ++count;
      (void)process::kill_cgroup(entry.path().string());
      asio::post(context->files, [group = entry.path().string()] {
        (void)process::remove_cgroup(group, BootClock::now() + 5s);
      });
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(context->config.jobs.scratch, ignored)) {
    if (!ours(entry.path().filename().string())) continue;
    ++count;
    asio::post(context->files, [folder = entry.path()] {
      (void)process::remove_tree(folder, BootClock::now() + 60s, nullptr);
    });
  }
  return count;
}

// Start-up is recovery: what the journal says should live, against what is found; the engine settles it by
// the same events as a normal end.
void Daemon::Impl::recover(const std::vector<store::QuarantineRow>& quarantined) {
  if (const auto log = context->store.found_log(); log.commits > 0 || log.left_out > 0) {
    std::string text = "the database had not been closed: " +
                       counted(static_cast<std::size_t>(log.commits), "commit", "commits") +
                       " of its log taken in";
    if (log.left_out > 0) {
      text += "; " + counted(static_cast<std::size_t>(log.left_out), "byte", "bytes") +
              " at its end left out: cut off, damaged, or of a commit that is not whole";
    }
    recovered.push_back(std::move(text));
  }
  struct Live {
    std::shared_ptr<Attempt> attempt;
    std::string boot;
    model::JobState state = model::JobState::starting;
    std::optional<int> leader;
  };
  std::vector<Live> live;
  std::set<std::string> known_folders;
  (void)context->store.each_live_job([&](const store::JobRecord& record) {
    engine::Restored event = restored(record);
    if (event.attempt) {
      auto row = shell.row(record.row.id);
      if (row) {
        auto attempt = std::make_shared<Attempt>(*context, record.attempt->id, *row, event.attempt->leases);
        shell.remember(*row);
        shell.add_attempt(attempt);
        known_folders.insert(record.attempt->id.str());
        live.push_back({.attempt = std::move(attempt),
                        .boot = record.attempt->boot_id,
                        .state = last_known(record),
                        .leader = record.attempt->pid});
      }
    }
    shell.tell(std::move(event));
  });
  for (const store::QuarantineRow& row : quarantined) {
    shell.tell(engine::DeviceChanged{.is_port = false,
                                     .id = row.gpu,
                                     .state = model::DeviceState::quarantined,
                                     .why = row.why,
                                     .outside = {}});
  }
  // Attempts whose report is written: those that have a folder (their keepers wait for an acknowledgement, or
  // for survivors, or are dead), and those that hold a GPU back.
  std::map<AttemptId, std::vector<int>> lingering;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(context->attempts, ignored)) {
    if (const auto id = AttemptId::parse(entry.path().filename().string())) lingering[*id];
  }
  for (const store::QuarantineRow& row : quarantined) {
    if (row.attempt) lingering[*row.attempt].push_back(row.gpu);
  }
  for (const auto& [id, gpus] : lingering) {
    if (known_folders.contains(id.str())) continue;
    auto record = context->store.job(id.job);
    if (!record) continue;
    if (!*record || !(*record)->attempt || (*record)->attempt->id.number < id.number) {
      const bool ended = end_unknown(*context, id, kUnknownLimit);
      recovered.push_back((ended ? "ended " : "could not end ") + id.str() +
                          ", an attempt that the database does not know");
      continue;
    }
    // All of them, since a keeper hands its locks over in their order.
    const engine::Leases held{.gpus = (*record)->attempt->gpus, .ports = (*record)->attempt->ports};
    std::make_shared<Attempt>(*context, id, std::make_shared<const store::JobRow>((*record)->row), held)
        ->adopt_lingering((*record)->attempt->boot_id, gpus);
  }
  if (const std::size_t strays = remove_strays(known_folders); strays > 0) {
    recovered.push_back("removed what ended attempts had left: " +
                        counted(strays, "group or scratch folder", "groups and scratch folders"));
  }
  // Told after the Restored events, in whose order the engine takes them.
  std::map<std::string_view, std::size_t> kinds;
  for (const Live& found : live) ++kinds[found.attempt->adopt(found.boot, found.state, found.leader)];
  if (!live.empty()) {
    std::string text;
    for (const auto& [kind, count] : kinds) {
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + std::string(kind);
    }
    recovered.push_back("of " + counted(live.size(), "job", "jobs") +
                        " that an earlier daemon had begun: " + text);
  }
  shell.apply(engine::RestoreDone{});
  look_at_quarantined(quarantined);
}

// What held a GPU back may have gone while no daemon ran. Where its attempt is known, that waits for it; else
// one look decides.
void Daemon::Impl::look_at_quarantined(const std::vector<store::QuarantineRow>& rows) {
  for (const store::QuarantineRow& row : rows) {
    const auto waits = std::find_if(context->lingering.begin(), context->lingering.end(),
                                    [&](const auto& attempt) { return attempt->quarantines(row.gpu); });
    if (waits != context->lingering.end()) {
      (*waits)->recheck(row.gpu, [](bool, const std::string&) {});
      continue;
    }
    const auto judge = [this, id = row.gpu](const devices::GpuVerdict& verdict) {
      using Kind = devices::GpuVerdict::Kind;
      if (verdict.kind != Kind::free && verdict.kind != Kind::outside) return;
      const bool outside = verdict.kind == Kind::outside;
      shell.tell(
          engine::DeviceChanged{.is_port = false,
                                .id = id,
                                .state = outside ? model::DeviceState::outside : model::DeviceState::free,
                                .why = verdict.text,
                                .outside = verdict.outside});
    };
    const devices::Gpu& gpu = context->gpu(row.gpu);
    if (gpu.kind == devices::GpuKind::declared) {
      judge(devices::declared_free());
    } else {
      context->gpus->check(gpu, devices::CheckPurpose::before_lease, {}, judge);
    }
  }
}

Task<Result<std::unique_ptr<Daemon>>> Daemon::start(asio::io_context& io, Config config) {
  if (auto sound = check_config(config); !sound) co_return std::move(sound).error();
  if (auto made = make_directories(config.state.dir, 0700); !made) {
    Error error = std::move(made).error();
    error.message += "; choose another state directory with --state DIR, or dir in [state]";
    co_return error;
  }
  auto store = store::Store::open(config.state.dir, "socket " + config.server.socket.string());
  if (!store) co_return std::move(store).error();
  auto context = std::make_unique<Context>(io, std::move(config), std::move(*store));
  Context& parts = *context;
  parts.logs = parts.config.state.dir / "logs";
  if (auto made = make_directories(parts.logs, 0700); !made) co_return std::move(made).error();
  if (auto base = process::prepare_scratch_base(parts.config.jobs.scratch); !base)
    co_return std::move(base).error();
  auto keeper = find_program("ebb-keeper");
  if (!keeper) co_return std::move(keeper).error();
  parts.keepers.emplace(keeper->string());
  auto limits_before = take_own_limits();
  if (!limits_before) co_return std::move(limits_before).error();
  parts.limits = std::move(*limits_before);

  auto containment =
      process::probe_containment({.state_dir = parts.config.state.dir.string(), .may_move = true});
  if (!containment) co_return std::move(containment).error();
  parts.containment = std::move(*containment);
  // Where only ancestry tells a job's processes, those of a dead keeper must come to us.
  if (!parts.containment.tiers().pidns && !parts.containment.tiers().cgroup)
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);

  if (auto found = co_await find_devices(parts); !found) co_return std::move(found).error();

  auto users = Users::load(parts.store);
  if (!users) co_return std::move(users).error();
  auto last_job = parts.store.last_job_seq();
  if (!last_job) co_return std::move(last_job).error();
  auto last_event = parts.store.last_event_seq();
  if (!last_event) co_return std::move(last_event).error();
  auto quarantined = parts.store.quarantined();
  if (!quarantined) co_return std::move(quarantined).error();

  auto attempts = process::prepare_attempts(
      {.state_dir = parts.config.state.dir, .begun = [&] { return begun_since_boot(parts.store); }});
  if (!attempts) co_return std::move(attempts).error();
  parts.attempts = std::move(*attempts);
  const engine::Limits limits{.max_running = parts.config.queue.max_running,
                              .max_queued = parts.config.queue.max_queued,
                              .max_per_user = parts.config.queue.max_per_user,
                              .overtake = parts.config.queue.overtake};
  auto impl = std::make_unique<Impl>(std::move(context), engine::Engine(machine_of(parts), limits), *last_job,
                                     *last_event, std::move(*users));
  impl->history.begin();
  impl->recover(*quarantined);
  co_return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

}  // namespace ebb::daemon
