#include "attempt.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "attempt_end.h"
#include "attempt_search.h"
#include "ebb/base/files.h"
#include "ebb/base/units.h"
#include "ebb/model/json.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/proc.h"
#include "launch_plan.h"
#include "releases.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr Duration kPortLimit = 2s;
constexpr Duration kIpcLimit = 5s;
constexpr Duration kScratchLimit = 30s;

}  // namespace

Attempt::Attempt(Context& context, AttemptId id, std::shared_ptr<const store::JobRow> job,
                 engine::Leases leases)
    : context_(context),
      id_(id),
      job_(std::move(job)),
      leases_(std::move(leases)),
      tier_(process::tier_text(context.containment.tiers())),
      locks_(std::make_shared<AttemptLocks>(context, leases_)),
      processes_(std::make_shared<AttemptProcesses>(context, id)),
      quarantine_(std::make_shared<Quarantine>(context, locks_, processes_, [this] { linger(); })),
      keeper_(context.io, keeper_calls()) {}

Attempt::~Attempt() { quarantine_->stop(); }

// ---- devices
// -------------------------------------------------------------------------------------------------

void Attempt::acquire() {
  locks_->acquire([self = shared_from_this()](AttemptLocks::Refusals refusals) {
    if (self->abandoned_) return;
    if (refusals.empty()) {
      self->context_.tell(engine::Acquired{self->id_});
      return;
    }
    self->abandon();
    self->context_.tell(engine::AcquireFailed{self->id_, std::move(refusals)});
  });
}

void Attempt::abandon() {
  abandoned_ = true;
  locks_->give_back();
}

// ---- start
// ---------------------------------------------------------------------------------------------------

void Attempt::start(std::map<std::string, std::string> secret_env, int owner) {
  auto spec =
      plan_launch(context_, *job_, {.id = id_, .leases = leases_, .secret_env = std::move(secret_env)});
  if (!spec) return tree_ended(start_failed(id_, spec.error().message));
  spec_ = std::move(*spec);
  tier_ = process::tier_text(spec_.tiers);
  if (auto made = make_places(context_, *job_, id_, spec_); !made) {
    return tree_ended(start_failed(id_, made.error().message));
  }
  if (spec_.share_ipc) {
    if (auto before = process::list_ipc()) ipc_before_ = std::move(*before);
  }
  auto keeper = context_.keepers->start(spec_, locks_->descriptors(), owner);
  // Only what follows from the machine is needed from here on.
  spec_.argv.clear();
  spec_.env.clear();
  if (!keeper) return tree_ended(start_failed(id_, keeper.error().message));
  keeper_.begin(std::move(*keeper));
}

void Attempt::begin_readiness() {
  if (!job_->spec.ready || leases_.ports.empty() || end_) return;
  readiness_ = std::make_unique<Readiness>(
      context_.io,
      Readiness::Question{
          .path = job_->spec.ready->path,
          .port = leases_.ports.front(),
          .timeout = job_->spec.ready->timeout,
          .is_own = [processes = processes_](const Listener& listener) { return processes->owns(listener); }},
      [this](Result<void> answer) {
        if (answer) {
          context_.tell(engine::BecameReady{id_});
        } else {
          context_.tell(engine::ReadyFailed{id_, answer.error().message});
        }
      });
}

// ---- the keeper
// ------------------------------------------------------------------------------------------------

KeeperSession::Calls Attempt::keeper_calls() {
  return {.said = [this](process::KeeperEvent event) { handle(std::move(event)); },
          .handed_locks = [this](std::vector<UniqueFd> locks) { locks_->adopt(std::move(locks)); },
          .gone = [this] { keeper_gone(); },
          .silent =
              [this] {
                if (!end_) tree_lost();
              }};
}

void Attempt::handle(process::KeeperEvent event) {
  if (const auto* told = std::get_if<process::Started>(&event)) {
    started(told->leader_pid, told->init_pid);
  } else if (const auto* welcome = std::get_if<process::Welcome>(&event)) {
    welcomed(*welcome);
  } else if (auto* ended = std::get_if<process::Ended>(&event)) {
    tree_ended(std::move(ended->record));
  }
}

void Attempt::started(pid_t leader, pid_t init) {
  processes_->led_by(leader);
  if (init != 0) {
    if (auto pidfd = process::open_pidfd(init)) init_pidfd_ = std::move(*pidfd);
  }
  context_.tell(engine::Started{.attempt = id_, .pid = leader});
  begin_readiness();
}

void Attempt::welcomed(const process::Welcome& welcome) {
  if (!welcome.tier.empty()) tier_ = welcome.tier;
  if (welcome.phase == process::KeeperPhase::running && !asked_) {
    started(welcome.leader_pid, welcome.init_pid);
    return;
  }
  processes_->led_by(welcome.leader_pid);
  if (welcome.init_pid != 0) {
    if (auto pidfd = process::open_pidfd(welcome.init_pid)) init_pidfd_ = std::move(*pidfd);
  }
}

void Attempt::stop(const model::StopReason& reason, Duration grace) {
  if (end_) return;
  readiness_.reset();
  asked_ = true;
  if (!keeper_.linked()) return;  // it is gone already; keeper_gone() sees to the rest
  const std::string text = model::json_text(reason).substr(0, process::EndRecord::kMaxReason);
  if (!keeper_.stop(process::Stop{.reason = text, .grace = grace})) tree_lost();
}

void Attempt::keeper_gone() {
  if (!end_ || !end_->complete) {
    auto record = process::read_end_record(context_.attempt_folder(id_).string());
    if (!record || !record->complete) return tree_lost();
    tree_ended(std::move(*record));
  }
  if (finished_) clean_up();
}

// ---- the end of the tree
// -----------------------------------------------------------------------------------

void Attempt::remember_end(process::EndRecord record) {
  end_ = std::move(record);
  processes_->ended(*end_);
  readiness_.reset();
}

void Attempt::tree_ended(process::EndRecord record, std::optional<model::StopReason> reason) {
  const bool known = end_.has_value();
  remember_end(std::move(record));
  keeper_.expect_nothing();
  if (finished_) {  // its report is written: what had outlived the kill is gone at last
    if (!end_->complete) return;
    keeper_.acknowledge();
    quarantine_->look();
  } else if (waiting_release_) {
    run_releases(*std::exchange(waiting_release_, std::nullopt));
  } else if (!known) {
    context_.tell(ended_by(id_, *end_, std::move(reason)));
  }
}

// The keeper cannot be relied on: the daemon ends what is left of the tree by itself.
void Attempt::tree_lost() {
  if (lost_ || end_) return;
  keeper_.kill();
  LostTree::Tree tree{.attempt = id_, .cgroup = processes_->cgroup(), .init = std::move(init_pidfd_)};
  lost_.emplace(context_, std::move(tree), context_.config.jobs.kill_timeout,
                [this](bool empty, const std::string& how) {
                  if (end_) return;  // the keeper has told after all
                  tree_ended(killed_by_daemon(id_, tier_, empty, how),
                             model::StopReason{.kind = model::StopKind::keeper_lost,
                                               .by = "daemon",
                                               .detail = "its keeper died or did not answer"});
                });
}

// ---- releases
// ------------------------------------------------------------------------------------------------

void Attempt::release(const engine::act::Release& release) {
  // After a restart in the middle of releasing, the keeper has yet to say how the tree ended.
  if (!end_ && (keeper_.linked() || lost_)) {
    waiting_release_ = release;
    return;
  }
  if (!end_) remember_end(never_started(id_));
  run_releases(release);
}

void Attempt::run_releases(const engine::act::Release& release) {
  lifecycle::Scope& scope = scope_.emplace(context_.clock, context_.timers);
  using Order = lifecycle::Scope::Order;
  const Duration gpu_limit = context_.config.jobs.gpu_release_timeout + 1s;
  const std::string group = processes_->cgroup();
  scope.add(processes_release(*end_, group.empty() ? id_.str() : group), 1s);
  for (std::size_t i = 0; i < leases_.gpus.size(); ++i) {
    const int gpu = leases_.gpus[i];
    scope.add(gpu_release(context_, gpu, locks_->gpu(gpu),
                          [processes = processes_](pid_t pid) { return processes->owns(pid); }),
              gpu_limit, i == 0 ? Order::after : Order::beside);
  }
  for (const int port : leases_.ports) {
    scope.add(port_release(port, [processes = processes_](
                                     const Listener& listener) { return processes->owns(listener); }),
              kPortLimit);
  }
  if (spec_.share_ipc && processes_->leader() != 0) {
    process::IpcClaim claim;
    claim.attempt = id_;
    claim.uid = job_->surroundings.uid;
    claim.started = release.started_at.value_or(job_->submitted_at);
    claim.ended = context_.clock.wall();
    claim.pids = {processes_->leader()};
    claim.before = std::move(ipc_before_);
    scope.add(ipc_release(std::move(claim)), kIpcLimit);
  }
  scope.add(scratch_release(context_, id_), kScratchLimit);
  // The scope is this attempt's, and calls nobody once it is dropped.
  scope.release([this, release](const lifecycle::Scope::Records& records) {
    model::Report report = lifecycle::make_report({.job = release.attempt.job,
                                                   .attempt = static_cast<int>(release.attempt.number),
                                                   .reason = release.reason,
                                                   .exit = release.exit,
                                                   .tier = tier_,
                                                   .started_at = release.started_at,
                                                   .stop_requested_at = release.stop_requested_at},
                                                  records, context_.clock.wall());
    quarantine_->take_from(report, leases_.gpus);
    context_.tell(engine::Released{.attempt = id_, .report = std::move(report)});
  });
}

void Attempt::finish() {
  finished_ = true;
  if (end_ && end_->complete) closing_ = context_.closing;
  scope_.reset();
  locks_->keep_only(quarantine_->gpus());
  if (end_ && end_->complete) keeper_.acknowledge();
  if (!keeper_.present()) clean_up();
  quarantine_->watch();
  linger();
}

// After the keeper's exit nothing uses the attempt's folder and cgroups any more.
void Attempt::clean_up() {
  if (cleaned_ || (end_ && !end_->complete)) return;
  cleaned_ = true;
  std::vector<std::string> groups;
  if (const std::string group = processes_->cgroup(); !group.empty()) groups.push_back(group);
  for (const process::Limit* limit : {&spec_.memory, &spec_.processes}) {
    if (!limit->cgroup1.empty()) groups.push_back(limit->cgroup1);
  }
  asio::post(context_.files, [groups = std::move(groups), folder = context_.attempt_folder(id_),
                              closing = std::move(closing_)] {
    for (const std::string& group : groups) (void)process::remove_cgroup(group, BootClock::now() + 5s);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  });
  linger();
}

// Nobody else holds it any longer. It goes in a turn of its own: whoever calls this may be a part of it.
void Attempt::linger() {
  const bool waits = !cleaned_ || !quarantine_->gpus().empty();
  if (waits) {
    context_.lingering.insert(shared_from_this());
  } else {
    asio::post(context_.io, [this, self = shared_from_this(), context = std::weak_ptr(context_.closing)] {
      if (!context.expired()) context_.lingering.erase(self);  // the loop may outlive the context
    });
  }
}

void Attempt::detach() {
  detached_ = true;
  readiness_.reset();
  scope_.reset();
  lost_.reset();
  keeper_.close();
  quarantine_->stop();
}

// ---- recovery
// ------------------------------------------------------------------------------------------------

void Attempt::adopt(const std::string& boot, bool releasing) {
  spec_.label = id_.str();
  process::contain(spec_, context_.containment,
                   static_cast<std::uint64_t>(job_->spec.memory_bytes.value_or(0)), 0);
  spec_.share_ipc = job_->spec.share_ipc || !spec_.tiers.pidns;
  if (boot != boot_id()) {
    locks_->take();
    remember_end(gone_with_its_boot(id_));
    if (releasing) return;
    context_.tell(ended_by(
        id_, *end_, model::StopReason{.kind = model::StopKind::reboot, .by = {}, .detail = {}}));
    return;
  }
  Remains remains = find_remains(context_, id_, !processes_->cgroup().empty());
  if (auto* living = std::get_if<LivingKeeper>(&remains)) {
    keeper_.begin(std::move(living->link));
    return;
  }
  locks_->take();
  if (auto* ended = std::get_if<TreeEnded>(&remains)) {
    tree_ended(std::move(ended->record));
  } else if (std::holds_alternative<KeeperLost>(remains)) {
    tree_lost();
  } else if (!releasing) {
    context_.tell(engine::NeverStarted{id_});
  }
}

void Attempt::adopt_lingering() {
  finished_ = true;
  auto link = process::KeeperLink::connect(context_.attempt_folder(id_).string());
  if (!link) return clean_up();
  quarantine_->take(leases_.gpus);
  keeper_.begin(std::move(*link));
  linger();
}

}  // namespace ebb::daemon
