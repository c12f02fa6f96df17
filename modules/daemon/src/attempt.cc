#include "attempt.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "attempt_search.h"
#include "ebb/base/files.h"
#include "ebb/process/attempts_folder.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/leader_note.h"
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
      locks_(std::make_shared<AttemptLocks>(context, leases_)),
      processes_(std::make_shared<AttemptProcesses>(context, id)),
      quarantine_(std::make_shared<Quarantine>(context, locks_, processes_, [this] { linger(); })),
      tree_(context, id, processes_, tree_calls()),
      held_back_(context) {}

Attempt::~Attempt() { quarantine_->stop(); }

// ---- devices

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

void Attempt::start(std::map<std::string, std::string> secret_env, int owner) {
  auto spec =
      plan_launch(context_, *job_, {.id = id_, .leases = leases_, .secret_env = std::move(secret_env)});
  if (!spec) return start_failed(spec.error().message);
  spec_ = std::move(*spec);
  tree_.set_tier(process::tier_text(spec_.tiers));
  if (auto made = make_places(context_, *job_, id_, spec_); !made) return start_failed(made.error().message);
  if (spec_.share_ipc) {
    const WallTime now = context_.clock.wall();
    ipc_ = process::claim_before_start(id_, job_->surroundings.uid);
    ipc_->started = now;
  }
  for (const auto& other : context_.lingering) other->make_room_for(leases_);
  auto keeper = context_.keepers->start(spec_, locks_->descriptors(), owner);
  // Only what follows from the machine is needed from here on.
  spec_.argv.clear();
  spec_.env.clear();
  if (keeper) {
    tree_.begin(std::move(*keeper));
  } else if (keeper.error().code == Errc::unavailable) {
    tree_.begin_unknown(keeper.error().message);
  } else {
    start_failed(keeper.error().message);
  }
}

void Attempt::start_failed(const std::string& why) {
  tree_.assume(daemon::start_failed(id_, why));
  context_.tell(ended_by(id_, *tree_.end()));
}

void Attempt::started(pid_t leader, std::optional<BootTime> at) {
  if (ipc_) ipc_->pids = {leader};
  context_.tell(engine::Started{.attempt = id_, .pid = leader, .at = at});
  begin_readiness();
}

void Attempt::begin_readiness() {
  if (!job_->spec.ready || leases_.ports.empty()) return;
  readiness_ = std::make_unique<Readiness>(
      context_.io,
      Readiness::Question{
          .path = job_->spec.ready->path,
          .port = leases_.ports.front(),
          .timeout = job_->spec.ready->timeout,
          .is_own = [processes = processes_](const Listener& listener) { return processes->owns(listener); }},
      [this](const Result<void>& answer) {
        if (answer) {
          context_.tell(engine::BecameReady{id_});
        } else {
          context_.tell(engine::ReadyFailed{id_, answer.error().message});
        }
      });
}

// ---- the tree

KeptTree::Calls Attempt::tree_calls() {
  return {.started = [this](pid_t leader, std::optional<BootTime> at) { started(leader, at); },
          .ended = [this](engine::Ended event) { tree_ended(std::move(event)); },
          .emptied =
              [this] {
                if (finished_) emptied();
              },
          .keeper_gone =
              [this] {
                if (finished_) clean_up();
              },
          .handed_locks =
              [this](std::vector<UniqueFd> locks) {
                locks_->adopt(std::move(locks));
                locks_handed_ = true;
                lift_held_back();
              },
          .no_keeper = [this] { take_locks(); },
          .foreign_keeper =
              [this](const std::string& why) {
                spdlog::warn(
                    "{}: {}: the keeper is left running and not adopted, and what the job holds stays "
                    "held; to end both, 'ebb cancel {}'",
                    id_.str(), why, id_.job.str());
                // Else the engine would keep a stop back until it hears of it.
                if (!finished_) context_.tell(engine::Started{.attempt = id_, .pid = 0, .at = {}});
              },
          .never_began = [this] { never_began(); }};
}

void Attempt::stop(const model::StopReason& reason, Duration grace) {
  readiness_.reset();
  tree_.stop(reason, grace);
}

void Attempt::disown() {
  auto detached = std::make_shared<store::JobRow>(*job_);
  detached->spec.owner_lease.reset();
  job_ = std::move(detached);
  tree_.disown();
}

void Attempt::tree_ended(engine::Ended event) {
  readiness_.reset();
  if (finished_) {  // its report was written by an earlier daemon
    if (tree_.end()->complete) {
      emptied();
    } else {
      closing_.reset();
    }
  } else if (waiting_release_) {
    run_releases(*std::exchange(waiting_release_, std::nullopt));
  } else {
    context_.tell(std::move(event));
  }
}

void Attempt::emptied() {
  tree_.acknowledge();
  lift_held_back();
  quarantine_->look();
  if (!tree_.has_keeper()) clean_up();
}

// ---- releases

void Attempt::release(const engine::act::Release& release) {
  // After a restart in the middle of releasing, it has yet to be told how the tree ended.
  if (tree_.end_awaited()) {
    waiting_release_ = release;
    return;
  }
  if (!tree_.end()) tree_.assume(never_started(id_));
  run_releases(release);
}

void Attempt::run_releases(const engine::act::Release& release) {
  lifecycle::Scope& scope = scope_.emplace(context_.clock, context_.timers);
  using Order = lifecycle::Scope::Order;
  const Duration gpu_limit = context_.config.jobs.gpu_release_timeout + 1s;
  const std::string group = processes_->cgroup();
  scope.add(processes_release(*tree_.end(), group.empty() ? id_.str() : group), 1s);
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
  if (ipc_) {
    ipc_->pids.insert(ipc_->pids.end(), processes_->remembered().begin(), processes_->remembered().end());
    // Nobody may have been left to tell.
    const auto leader = process::noted_leader(context_.attempt_folder(id_).string());
    if (leader) ipc_->pids.push_back(*leader);
  }
  if (ipc_ && !ipc_->pids.empty()) {
    ipc_->ended = context_.clock.wall();
    scope.add(ipc_release(std::move(*ipc_)), kIpcLimit);
    ipc_.reset();
  }
  scope.add(scratch_release(context_, id_), kScratchLimit);
  // The scope is this attempt's, and calls nobody once it is dropped.
  scope.release([this, release](const lifecycle::Scope::Records& records) {
    model::Report report = lifecycle::make_report({.job = release.attempt.job,
                                                   .attempt = static_cast<int>(release.attempt.number),
                                                   .reason = release.reason,
                                                   .exit = release.exit,
                                                   .tier = tier(),
                                                   .started_at = release.started_at,
                                                   .stop_requested_at = release.stop_requested_at},
                                                  records, context_.clock.wall());
    quarantine_->take_from(report, leases_.gpus);
    context_.tell(engine::Released{.attempt = id_, .report = std::move(report)});
  });
}

void Attempt::finish() {
  finished_ = true;
  scope_.reset();
  if (tree_.end()->complete) {
    // For as long as the keeper is there it holds the locks with us, so that the next attempt must share
    // them: clean_up() gives them back.
    closing_ = context_.closing;
    tree_.acknowledge();
    if (!tree_.has_keeper()) clean_up();
  } else {
    locks_->keep_only(quarantine_->gpus());
  }
  quarantine_->watch();
  linger();
}

// After the keeper's exit nothing uses the attempt's folder and cgroups any more.
void Attempt::clean_up() {
  if (cleaned_ || (tree_.end() && !tree_.end()->complete)) return;
  cleaned_ = true;
  held_back_.lift();
  // When that has been applied: whoever gets a device shares its lock, and nobody comes in between.
  asio::post(context_.io, [self = shared_from_this()] {
    if (!self->detached_) self->locks_->keep_only(self->quarantine_->gpus());
  });
  std::vector<std::string> groups;
  if (const std::string group = processes_->cgroup(); !group.empty()) groups.push_back(group);
  for (const process::Limit* limit : {&spec_.memory, &spec_.processes}) {
    if (!limit->cgroup1.empty()) groups.push_back(limit->cgroup1);
  }
  asio::post(context_.files, [groups = std::move(groups), folder = context_.attempt_folder(id_),
                              closing = std::move(closing_)] {
    for (const std::string& group : groups) (void)process::remove_cgroup(group, BootClock::now() + 5s);
    process::remove_attempt_folder(folder);
  });
  linger();
}

void Attempt::make_room_for(const engine::Leases& leases) {
  const auto shared = [](const std::vector<int>& ours, const std::vector<int>& theirs) {
    return std::ranges::find_first_of(ours, theirs) != ours.end();
  };
  if (!shared(leases_.gpus, leases.gpus) && !shared(leases_.ports, leases.ports)) return;
  if (tree_.has_keeper() && tree_.end() && tree_.end()->complete) tree_.kill_keeper();
}

// Nobody else holds it any longer. It goes in a turn of its own: whoever calls this may be a part of it.
void Attempt::linger() {
  if (!cleaned_ || !quarantine_->gpus().empty()) {
    context_.lingering.insert(shared_from_this());
  } else if (context_.lingering.contains(shared_from_this())) {
    asio::post(context_.io, [self = shared_from_this()] {
      if (!self->detached_) self->context_.lingering.erase(self);
    });
  }
}

void Attempt::detach() {
  detached_ = true;
  readiness_.reset();
  scope_.reset();
  tree_.close();
  quarantine_->stop();
}

// ---- recovery

std::string_view Attempt::adopt(const std::string& boot, model::JobState state, std::optional<int> leader) {
  spec_.label = id_.str();
  process::contain(spec_, context_.containment,
                   static_cast<std::uint64_t>(job_->spec.memory_bytes.value_or(0)), 0);
  spec_.share_ipc = job_->spec.share_ipc || !spec_.tiers.pidns;
  if (boot == boot_id()) {
    // What was there before, and who else was, went with the daemon that started it.
    if (spec_.share_ipc) {
      ipc_.emplace();
      ipc_->attempt = id_;
      ipc_->uid = job_->surroundings.uid;
      ipc_->started = places_made_at(context_, id_).value_or(job_->submitted_at);
      if (leader) ipc_->pids = {*leader};
    }
    // Whoever disowned the job may have had no time to tell its keeper.
    if (!job_->spec.owner_lease) tree_.disown();
    return tree_.take_up(state);
  }
  locks_->take();
  tree_.assume(gone_with_its_boot(id_));
  if (state != model::JobState::releasing) context_.tell(ended_by_reboot(id_, *tree_.end()));
  return "gone with an earlier boot";
}

// Its places are made anew when it is started again, under the same number.
void Attempt::never_began() {
  locks_->give_back();
  asio::post(context_.files,
             [self = shared_from_this(), folder = context_.attempt_folder(id_),
              scratch = context_.scratch_folder(id_), group = processes_->cgroup()]() mutable {
               remove_places(folder, scratch, group);
               asio::io_context& io = self->context_.io;
               // Handed on, not copied: the last to let go of an attempt must be the loop's thread.
               asio::post(io, [self = std::move(self)] {
                 if (!self->detached_) self->context_.tell(engine::NeverStarted{self->id_});
               });
             });
}

void Attempt::adopt_lingering(const std::string& boot, const std::vector<int>& quarantined) {
  finished_ = true;
  quarantine_->take(quarantined);
  quarantine_->watch();
  const bool waits = boot == boot_id() && tree_.take_up_lingering();
  if (tree_.has_keeper()) {
    held_back_.hold(leases_, quarantine_->gpus(),
                    "the keeper of " + id_.str() + ", which has ended, still holds it");
  } else {
    take_locks();
  }
  if (!waits || tree_.has_keeper()) closing_ = context_.closing;  // unless its keeper tells of survivors
  if (!waits) return clean_up();
  linger();
}

// As soon as nothing of the tree uses them and their locks are here.
void Attempt::lift_held_back() {
  if (locks_handed_ && tree_.end() && tree_.end()->complete) held_back_.lift();
}

// Of those that nobody hands over, what can be had.
void Attempt::take_locks() {
  if (finished_ && quarantine_->gpus().empty()) return;
  locks_->take();
  if (finished_) locks_->keep_only(quarantine_->gpus());
}

}  // namespace ebb::daemon
