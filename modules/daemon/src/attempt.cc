#include "attempt.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "ebb/base/files.h"
#include "ebb/base/units.h"
#include "ebb/model/json.h"
#include "ebb/process/cgroup.h"
#include "launch_plan.h"
#include "lost_tree.h"
#include "releases.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// How long a keeper may take to answer before the daemon does its work instead.
constexpr Duration kAnswerTimeout = 5s;
// Between two looks at a GPU that is quarantined although no process of its attempt is left.
constexpr Duration kQuarantineLook = 5s;
constexpr Duration kPortLimit = 2s;
constexpr Duration kIpcLimit = 5s;
constexpr Duration kScratchLimit = 30s;

model::Exit exit_of(std::optional<int> wait_status) {
  if (!wait_status) return {};
  if (WIFSIGNALED(*wait_status)) return {.code = {}, .signal = WTERMSIG(*wait_status)};
  return {.code = WEXITSTATUS(*wait_status), .signal = {}};
}

// What the end of an attempt looks like from outside; a stop that the engine asked for is its own to name.
model::StopReason reason_of(const process::EndRecord& end) {
  using Cause = process::EndCause;
  using Kind = model::StopKind;
  const model::Exit exit = exit_of(end.wait_status);
  if (end.start_failure) {
    return {.kind = Kind::start_failed, .by = {}, .detail = end.start_failure->message};
  }
  if (end.oom) return {.kind = Kind::oom, .by = "kernel", .detail = "its memory limit was reached"};
  switch (end.cause) {
    case Cause::stop:
      if (auto told = model::from_json_text<model::StopReason>(end.stop_reason)) return std::move(*told);
      return {.kind = Kind::cancelled, .by = "daemon", .detail = {}};
    case Cause::time_limit:
      return {.kind = Kind::timeout, .by = "keeper", .detail = {}};
    case Cause::daemon_gone:
      return {.kind = Kind::daemon_stopped, .by = "keeper", .detail = "no daemon came back in time"};
    case Cause::owner_gone:
      return {.kind = Kind::owner_lost,
              .by = "keeper",
              .detail = "the owner's process ended while no daemon ran"};
    case Cause::keeper_ended:
      return {.kind = Kind::keeper_lost, .by = {}, .detail = "its keeper was told to end by SIGTERM"};
    case Cause::start_failure:
    case Cause::leader_exit:
      break;
  }
  if (exit.code == 0) return {.kind = Kind::completed, .by = {}, .detail = {}};
  if (exit.signal)
    return {.kind = Kind::failed, .by = {}, .detail = "signal " + std::to_string(*exit.signal)};
  return {.kind = Kind::failed,
          .by = {},
          .detail = exit.code ? std::optional("exit code " + std::to_string(*exit.code)) : std::nullopt};
}

}  // namespace

Attempt::Attempt(Context& context, AttemptId id, std::shared_ptr<const store::JobRow> job,
                 engine::Leases leases)
    : context_(context),
      id_(id),
      job_(std::move(job)),
      leases_(std::move(leases)),
      tier_(process::tier_text(context.containment.tiers())),
      answer_limit_(context.io),
      quarantine_timer_(context.io) {}

Attempt::~Attempt() {
  // The descriptor is the link's; Asio must let go of it before the link closes it.
  if (link_events_) link_events_->release();
}

// ---- devices
// -------------------------------------------------------------------------------------------------

void Attempt::acquire() {
  std::vector<engine::AcquireFailed::Refusal> refusals;
  for (const int id : leases_.gpus) {
    const devices::Gpu& gpu = context_.gpu(id);
    auto lock = context_.locks.take(context_.lock_directory(gpu), devices::gpu_lock_name(gpu));
    if (lock) {
      gpu_locks_[id] = std::move(*lock);
    } else {
      refusals.push_back({.is_port = false,
                          .id = id,
                          .state = model::DeviceState::outside,
                          .why = lock.error().message,
                          .outside = {}});
    }
  }
  for (const int port : leases_.ports) {
    const auto number = static_cast<std::uint16_t>(port);
    auto lock = context_.locks.take(*context_.machine_locks, devices::port_lock_name(number));
    std::string why = lock ? "" : lock.error().message;
    if (lock) {
      port_locks_[port] = std::move(*lock);
      const devices::PortVerdict verdict = devices::check_port_free(number);
      if (verdict.kind != devices::PortVerdict::Kind::free) why = verdict.text;
    }
    if (!why.empty()) {
      refusals.push_back(
          {.is_port = true, .id = port, .state = model::DeviceState::outside, .why = why, .outside = {}});
    }
  }
  verify_gpus(0, std::move(refusals));
}

// One GPU after the other: the driver answers one question at a time anyway.
void Attempt::verify_gpus(std::size_t index, std::vector<engine::AcquireFailed::Refusal> refusals) {
  for (; index < leases_.gpus.size(); ++index) {
    const int id = leases_.gpus[index];
    const auto lock = gpu_locks_.find(id);
    if (lock == gpu_locks_.end()) continue;
    const devices::Gpu& gpu = context_.gpu(id);
    if (gpu.kind == devices::GpuKind::declared || std::exchange(lock->second->verified_free, false)) continue;
    context_.gpus->check(gpu, devices::CheckPurpose::before_lease, {},
                         [self = shared_from_this(), index, id,
                          refusals = std::move(refusals)](const devices::GpuVerdict& verdict) mutable {
                           if (verdict.kind != devices::GpuVerdict::Kind::free) {
                             refusals.push_back({.is_port = false,
                                                 .id = id,
                                                 .state = verdict.kind == devices::GpuVerdict::Kind::unknown
                                                              ? model::DeviceState::unknown
                                                              : model::DeviceState::outside,
                                                 .why = verdict.text,
                                                 .outside = verdict.outside});
                           }
                           self->verify_gpus(index + 1, std::move(refusals));
                         });
    return;
  }
  acquired(std::move(refusals));
}

void Attempt::acquired(std::vector<engine::AcquireFailed::Refusal> refusals) {
  if (abandoned_) return;
  if (refusals.empty()) {
    context_.tell(engine::Acquired{id_});
    return;
  }
  abandon();
  context_.tell(engine::AcquireFailed{id_, std::move(refusals)});
}

void Attempt::abandon() {
  abandoned_ = true;
  gpu_locks_.clear();
  port_locks_.clear();
}

// ---- start
// ---------------------------------------------------------------------------------------------------

void Attempt::start(std::map<std::string, std::string> secret_env, int owner) {
  auto spec =
      plan_launch(context_, *job_, {.id = id_, .leases = leases_, .secret_env = std::move(secret_env)});
  if (!spec) return start_failed(spec.error().message);
  spec_ = std::move(*spec);
  tier_ = process::tier_text(spec_.tiers);
  if (auto made = make_places(context_, *job_, id_, spec_); !made) return start_failed(made.error().message);
  if (spec_.share_ipc) {
    if (auto before = process::list_ipc()) ipc_before_ = std::move(*before);
  }
  std::vector<int> locks;
  for (const int gpu : leases_.gpus) locks.push_back(gpu_locks_.at(gpu)->file.fd());
  for (const int port : leases_.ports) locks.push_back(port_locks_.at(port)->file.fd());
  auto keeper = context_.keepers->start(spec_, locks, owner);
  // Only what follows from the machine is needed from here on.
  spec_.argv.clear();
  spec_.env.clear();
  if (!keeper) return start_failed(keeper.error().message);
  keeper_exit_.emplace(context_.io, keeper->pidfd.release());
  keeper_exit_->async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](
                                                                          boost::system::error_code failure) {
    if (failure) return;
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(self->keeper_exit_->native_handle()), &info, WEXITED);
    self->keeper_exit_.reset();
    self->keeper_gone();
  });
  take_link(std::move(keeper->link));
}

void Attempt::start_failed(const std::string& message) {
  process::EndRecord record;
  record.label = id_.str();
  record.cause = process::EndCause::start_failure;
  record.start_failure = process::StartFailure{.exit_code = 125, .message = message};
  record.complete = true;
  record.action = "nothing was started";
  record.verified_by = "no process";
  record.ended = process::moment_now();
  end_by_record(std::move(record));
}

void Attempt::take_link(process::KeeperLink link) {
  link_ = std::move(link);
  link_events_.emplace(context_.io, link_->fd());
  wait_link();
}

void Attempt::wait_link() {
  link_events_->async_wait(asio::posix::stream_descriptor::wait_read,
                           [self = shared_from_this()](boost::system::error_code failure) {
                             if (!failure && self->link_) self->receive();
                           });
}

void Attempt::receive() {
  auto received = link_->receive();
  answer_limit_.cancel();
  if (received) {
    if (!received->locks.empty()) adopt_locks(std::move(received->locks));
    for (process::KeeperEvent& event : received->events) {
      if (auto* started = std::get_if<process::Started>(&event)) {
        handle(std::move(*started));
      } else if (auto* welcome = std::get_if<process::Welcome>(&event)) {
        handle(std::move(*welcome));
      } else if (auto* ended = std::get_if<process::Ended>(&event)) {
        handle(std::move(*ended));
      }
    }
  }
  if (!received || received->closed) {
    link_events_->release();
    link_events_.reset();
    link_.reset();
    // A keeper that is our child is reaped first; its exit is told by keeper_exit_.
    if (!keeper_exit_) keeper_gone();
    return;
  }
  if (link_) wait_link();
}

void Attempt::handle(process::Started started) {
  leader_ = started.leader_pid;
  if (started.init_pid != 0) {
    if (auto pidfd = process::open_pidfd(started.init_pid)) init_pidfd_ = std::move(*pidfd);
  }
  context_.tell(engine::Started{.attempt = id_, .pid = leader_});
  begin_readiness();
}

void Attempt::handle(process::Welcome welcome) {
  leader_ = welcome.leader_pid;
  if (!welcome.tier.empty()) tier_ = welcome.tier;
  if (welcome.init_pid != 0) {
    if (auto pidfd = process::open_pidfd(welcome.init_pid)) init_pidfd_ = std::move(*pidfd);
  }
  if (welcome.phase == process::KeeperPhase::running && !asked_) {
    context_.tell(engine::Started{.attempt = id_, .pid = leader_});
    begin_readiness();
  }
}

void Attempt::handle(process::Ended ended) {
  readiness_.reset();
  if (!end_ && finished_) {  // taken up by adopt_lingering(): its report was written long ago
    end_ = std::move(ended.record);
    if (!end_->complete) return;
    if (link_) (void)link_->send(process::Ack{});
    for (const int gpu : std::set(quarantined_)) recheck(gpu, [](bool, const std::string&) {});
    return;
  }
  if (!end_) {
    end_by_record(std::move(ended.record));
    return;
  }
  // The second record: what had outlived the kill is gone at last.
  end_ = std::move(ended.record);
  if (finished_ && end_->complete) {
    if (link_) (void)link_->send(process::Ack{});
    for (const int gpu : std::set(quarantined_)) recheck(gpu, [](bool, const std::string&) {});
  }
}

void Attempt::end_by_record(process::EndRecord record, std::optional<model::StopReason> reason) {
  if (end_) return;
  end_ = std::move(record);
  readiness_.reset();
  answer_limit_.cancel();
  if (waiting_release_) {
    run_releases(*std::exchange(waiting_release_, std::nullopt));
    return;
  }
  model::Exit exit = exit_of(end_->wait_status);
  if (end_->start_failure) exit = {.code = end_->start_failure->exit_code, .signal = {}};
  context_.tell(engine::Ended{
      .attempt = id_,
      .exit = exit,
      .reason = reason ? *reason : reason_of(*end_),
      .exited_at = end_->leader_exited ? std::optional(end_->leader_exited->boot) : std::nullopt});
}

void Attempt::begin_readiness() {
  if (!job_->spec.ready || leases_.ports.empty() || end_) return;
  readiness_ = std::make_unique<Readiness>(
      context_.io,
      Readiness::Question{.path = job_->spec.ready->path,
                          .port = leases_.ports.front(),
                          .timeout = job_->spec.ready->timeout,
                          .is_own = [this](const Listener& listener) { return owns(listener); }},
      [this](Result<void> answer) {
        if (answer) {
          context_.tell(engine::BecameReady{id_});
        } else {
          context_.tell(engine::ReadyFailed{id_, answer.error().message});
        }
      });
}

// ---- the end
// -------------------------------------------------------------------------------------------------

void Attempt::stop(const model::StopReason& reason, Duration grace) {
  if (end_) return;
  readiness_.reset();
  asked_ = true;
  if (!link_) return;  // the keeper is gone already; keeper_gone() sees to the rest
  const std::string text = model::json_text(reason).substr(0, process::EndRecord::kMaxReason);
  if (link_->send(process::Stop{.reason = text, .grace = grace}) && link_->send(process::Hello{})) {
    expect_answer(kAnswerTimeout);
  } else {
    tree_lost();
  }
}

void Attempt::expect_answer(Duration within) {
  answer_limit_.expires_after(within);
  answer_limit_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
    if (!failure && !self->end_) self->tree_lost();
  });
}

void Attempt::keeper_gone() {
  if (detached_ || (end_ && end_->complete)) {
    if (finished_) clean_up();
    return;
  }
  if (auto record = process::read_end_record(context_.attempt_folder(id_).string());
      record && record->complete) {
    if (end_) {
      handle(process::Ended{std::move(*record)});
      if (finished_) clean_up();
    } else {
      end_by_record(std::move(*record));
    }
    return;
  }
  tree_lost();
}

// The keeper cannot be relied on: the daemon ends what is left of the tree by itself.
void Attempt::tree_lost() {
  if (lost_ || end_) return;
  if (keeper_exit_) {
    (void)::syscall(SYS_pidfd_send_signal, keeper_exit_->native_handle(), SIGKILL, nullptr, 0);
  }
  LostTree::Tree tree{.attempt = id_, .cgroup = cgroup(), .init = std::move(init_pidfd_)};
  lost_.emplace(context_, std::move(tree), context_.config.jobs.kill_timeout,
                [self = shared_from_this()](bool empty, const std::string& how) {
                  process::EndRecord record;
                  record.label = self->id_.str();
                  record.complete = empty;
                  record.tier = self->tier_;
                  record.action = "the daemon killed what its keeper left";
                  record.verified_by = how;
                  record.ended = process::moment_now();
                  self->end_by_record(std::move(record),
                                      model::StopReason{.kind = model::StopKind::keeper_lost,
                                                        .by = "daemon",
                                                        .detail = "its keeper died or did not answer"});
                });
}

std::string Attempt::cgroup() const {
  if (!context_.containment.cgroup.available) return {};
  const std::string group = context_.containment.cgroup_base + "/" + id_.str();
  return ::access(group.c_str(), F_OK) == 0 ? group : std::string();
}

bool Attempt::owns_pid(pid_t pid) const {
  if (end_ && std::any_of(end_->survivors.begin(), end_->survivors.end(),
                          [&](const process::Survivor& survivor) { return survivor.pid == pid; })) {
    return true;
  }
  const auto group = process::read_proc_cgroup(pid);
  return group && group->find("/" + id_.str() + "/") != std::string::npos;
}

bool Attempt::owns(const Listener& listener) const {
  process::AttemptTree tree;
  if (const std::string group = cgroup(); !group.empty()) {
    tree.cgroup_ids = process::cgroup_ids_below(group);
    if (const auto pids = process::cgroup_processes(group)) tree.pids = *pids;
  } else {
    tree.pids = marked_processes(id_);
  }
  if (leader_ != 0) tree.pids.push_back(leader_);
  return process::owns_listener(tree, listener);
}

// ---- releases
// ------------------------------------------------------------------------------------------------

void Attempt::release(const engine::act::Release& release) {
  // After a restart in the middle of releasing, the keeper has yet to say how the tree ended.
  if (!end_ && (link_ || lost_)) {
    waiting_release_ = release;
    return;
  }
  if (!end_) {  // it never lived
    process::EndRecord record;
    record.complete = true;
    record.action = "nothing was started";
    record.verified_by = "no process";
    end_ = std::move(record);
  }
  run_releases(release);
}

void Attempt::run_releases(const engine::act::Release& release) {
  lifecycle::Scope& scope = scope_.emplace(context_.clock, context_.timers);
  using Order = lifecycle::Scope::Order;
  const Duration gpu_limit = context_.config.jobs.gpu_release_timeout + 1s;
  const auto self = shared_from_this();
  scope.add(processes_release(*end_, cgroup().empty() ? id_.str() : cgroup()), 1s);
  for (std::size_t i = 0; i < leases_.gpus.size(); ++i) {
    const int gpu = leases_.gpus[i];
    const auto lock = gpu_locks_.find(gpu);
    scope.add(gpu_release(context_, gpu, lock == gpu_locks_.end() ? nullptr : lock->second,
                          [self](pid_t pid) { return self->owns_pid(pid); }),
              gpu_limit, i == 0 ? Order::after : Order::beside);
  }
  for (const int port : leases_.ports) {
    scope.add(port_release(port, [self](const Listener& listener) { return self->owns(listener); }),
              kPortLimit);
  }
  if (spec_.share_ipc && leader_ != 0) {
    process::IpcClaim claim;
    claim.attempt = id_;
    claim.uid = job_->surroundings.uid;
    claim.started = release.started_at.value_or(job_->submitted_at);
    claim.ended = context_.clock.wall();
    claim.pids = {leader_};
    claim.before = std::move(ipc_before_);
    scope.add(ipc_release(std::move(claim)), kIpcLimit);
  }
  scope.add(scratch_release(context_, id_), kScratchLimit);
  scope.release([self, release](const lifecycle::Scope::Records& records) {
    model::Report report = lifecycle::make_report({.job = release.attempt.job,
                                                   .attempt = static_cast<int>(release.attempt.number),
                                                   .reason = release.reason,
                                                   .exit = release.exit,
                                                   .tier = self->tier_,
                                                   .started_at = release.started_at,
                                                   .stop_requested_at = release.stop_requested_at},
                                                  records, self->context_.clock.wall());
    self->note_quarantine(report);
    self->context_.tell(engine::Released{.attempt = self->id_, .report = std::move(report)});
  });
}

// A process that outlived the kill may come back to any GPU of the attempt, whatever the driver shows now.
void Attempt::note_quarantine(model::Report& report) {
  std::size_t index = 0;
  for (model::ReleaseRecord& record : report.releases) {
    if (record.kind != model::ReleaseKind::gpu) continue;
    if (!end_->complete && record.outcome == model::Outcome::released) {
      record.outcome = model::Outcome::quarantined;
      record.error = "a process of the job is still there";
    }
    if (record.outcome == model::Outcome::quarantined) quarantined_.insert(leases_.gpus[index]);
    ++index;
  }
}

void Attempt::finish() {
  finished_ = true;
  if (end_ && end_->complete) closing_ = context_.closing;
  scope_.reset();
  port_locks_.clear();
  std::erase_if(gpu_locks_, [&](const auto& entry) { return !quarantined_.contains(entry.first); });
  if (end_ && end_->complete && link_) (void)link_->send(process::Ack{});
  if (!link_ && !keeper_exit_) clean_up();
  if (!quarantined_.empty()) watch_quarantine();
}

// After the keeper's exit nothing uses the attempt's folder and cgroups any more.
void Attempt::clean_up() {
  if (cleaned_ || (end_ && !end_->complete)) return;
  cleaned_ = true;
  std::vector<std::string> groups;
  if (const std::string group = cgroup(); !group.empty()) groups.push_back(group);
  for (const process::Limit* limit : {&spec_.memory, &spec_.processes}) {
    if (!limit->cgroup1.empty()) groups.push_back(limit->cgroup1);
  }
  asio::post(context_.files, [groups = std::move(groups), folder = context_.attempt_folder(id_),
                              closing = std::move(closing_)] {
    for (const std::string& group : groups) (void)process::remove_cgroup(group, BootClock::now() + 5s);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  });
}

void Attempt::detach() {
  detached_ = true;
  readiness_.reset();
  scope_.reset();
  if (link_events_) link_events_->release();
  link_events_.reset();
  link_.reset();
  answer_limit_.cancel();
  quarantine_timer_.cancel();
}

// ---- quarantine
// ----------------------------------------------------------------------------------------------

void Attempt::watch_quarantine() {
  if (quarantined_.empty() || detached_) return;
  quarantine_timer_.expires_after(kQuarantineLook);
  quarantine_timer_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
    if (failure) return;
    for (const int gpu : std::set(self->quarantined_)) self->recheck(gpu, [](bool, const std::string&) {});
    self->watch_quarantine();
  });
}

void Attempt::recheck(int id, std::function<void(bool free, std::string why)> done) {
  if (end_ && !end_->complete) {
    return done(false, "a process of " + id_.str() + " is still there");
  }
  const devices::Gpu& gpu = context_.gpu(id);
  const auto judge = [self = shared_from_this(), id,
                      done = std::move(done)](const devices::GpuVerdict& verdict) {
    using Kind = devices::GpuVerdict::Kind;
    const bool gone = verdict.kind == Kind::free || verdict.kind == Kind::outside;
    if (gone) self->lift(id, verdict);
    done(gone, verdict.text);
  };
  if (gpu.kind == devices::GpuKind::declared) return judge(devices::declared_free());
  context_.gpus->check(
      gpu, devices::CheckPurpose::at_release,
      [self = shared_from_this()](pid_t pid) { return self->owns_pid(pid); }, judge);
}

void Attempt::lift(int gpu, const devices::GpuVerdict& verdict) {
  if (quarantined_.erase(gpu) == 0) return;
  gpu_locks_.erase(gpu);
  const bool outside = verdict.kind == devices::GpuVerdict::Kind::outside;
  context_.tell(
      engine::DeviceChanged{.is_port = false,
                            .id = gpu,
                            .state = outside ? model::DeviceState::outside : model::DeviceState::free,
                            .why = verdict.text,
                            .outside = verdict.outside});
  if (quarantined_.empty()) quarantine_timer_.cancel();
}

// ---- recovery
// ------------------------------------------------------------------------------------------------

void Attempt::adopt(const std::string& boot, bool releasing) {
  const std::string folder = context_.attempt_folder(id_).string();
  spec_.label = id_.str();
  process::contain(spec_, context_.containment,
                   static_cast<std::uint64_t>(job_->spec.memory_bytes.value_or(0)), 0);
  spec_.share_ipc = job_->spec.share_ipc || !spec_.tiers.pidns;
  if (boot != boot_id()) {
    take_locks();
    process::EndRecord record;
    record.complete = true;
    record.action = "the machine was started anew";
    record.verified_by = "another boot id";
    end_ = std::move(record);
    if (!releasing) {
      context_.tell(engine::Ended{.attempt = id_,
                                  .exit = {},
                                  .reason = {.kind = model::StopKind::reboot, .by = {}, .detail = {}},
                                  .exited_at = {}});
    }
    return;
  }
  if (auto link = process::KeeperLink::connect(folder)) {
    (void)link->send(process::FetchLocks{});
    take_link(std::move(*link));
    expect_answer(kAnswerTimeout);
    return;
  }
  take_locks();
  if (auto record = process::read_end_record(folder); record && record->complete) {
    end_by_record(std::move(*record));
    return;
  }
  if (cgroup().empty() && ::access(folder.c_str(), F_OK) != 0) {
    if (!releasing) context_.tell(engine::NeverStarted{id_});
    return;
  }
  tree_lost();
}

// Without a keeper that hands them over, the locks are free for whoever comes first.
void Attempt::take_locks() {
  for (const int id : leases_.gpus) {
    const devices::Gpu& gpu = context_.gpu(id);
    if (auto lock = context_.locks.take(context_.lock_directory(gpu), devices::gpu_lock_name(gpu))) {
      gpu_locks_[id] = std::move(*lock);
    }
  }
  for (const int port : leases_.ports) {
    if (auto lock = context_.locks.take(*context_.machine_locks,
                                        devices::port_lock_name(static_cast<std::uint16_t>(port)))) {
      port_locks_[port] = std::move(*lock);
    }
  }
}

// They come in the order in which start() gave them: GPUs, then ports.
void Attempt::adopt_locks(std::vector<UniqueFd> locks) {
  std::size_t next = 0;
  for (const int id : leases_.gpus) {
    if (next >= locks.size()) return;
    const devices::Gpu& gpu = context_.gpu(id);
    if (auto lock = context_.locks.adopt(context_.lock_directory(gpu), devices::gpu_lock_name(gpu),
                                         std::move(locks[next++]))) {
      gpu_locks_[id] = std::move(*lock);
    }
  }
  for (const int port : leases_.ports) {
    if (next >= locks.size()) return;
    if (auto lock = context_.locks.adopt(*context_.machine_locks,
                                         devices::port_lock_name(static_cast<std::uint16_t>(port)),
                                         std::move(locks[next++]))) {
      port_locks_[port] = std::move(*lock);
    }
  }
}

bool Attempt::adopt_lingering() {
  auto link = process::KeeperLink::connect(context_.attempt_folder(id_).string());
  finished_ = true;
  if (!link) {
    clean_up();
    return false;
  }
  quarantined_ = std::set(leases_.gpus.begin(), leases_.gpus.end());
  (void)link->send(process::FetchLocks{});
  take_link(std::move(*link));
  return true;
}

}  // namespace ebb::daemon
