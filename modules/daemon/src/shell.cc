#include "shell.h"

#include <fcntl.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "ebb/base/units.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// Rows of queued jobs that are kept in memory; those of a longer queue are read back when they start.
constexpr std::size_t kMostRows = 4096;
// Between two looks at devices that are used from outside while a job waits for one.
constexpr Duration kWatchInterval = 1s;
constexpr Duration kRetryCommit = 500ms;

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};

}  // namespace

Shell::Shell(Context& context, engine::Engine engine, std::int64_t last_event)
    : context_(context),
      engine_(std::move(engine)),
      tick_(context.io),
      retry_(context.io),
      watch_(context.io),
      job_waiters_(context.io),
      event_waiters_(context.io),
      event_seq_(last_event),
      published_(last_event) {
  context_.tell = [this](engine::Event event) { tell(std::move(event)); };
}

Shell::~Shell() { detach(); }

void Shell::detach() {
  detached_ = true;
  for (const auto& [id, attempt] : attempts_) attempt->detach();
  attempts_.clear();
  owners_.clear();
  tick_.cancel();
  retry_.cancel();
  watch_.cancel();
}

// ---- events

void Shell::tell(engine::Event event) {
  if (detached_) return;
  events_.push_back(std::move(event));
  if (scheduled_) return;
  scheduled_ = true;
  asio::post(context_.io, [this, alive = std::weak_ptr(alive_)] {
    if (alive.lock()) drain();
  });
}

void Shell::apply(engine::Event event) {
  if (detached_) return;
  events_.push_back(std::move(event));
  drain();
}

void Shell::drain() {
  scheduled_ = true;  // what is told from here on is taken by the loop below
  while (!events_.empty() && !detached_) {
    const engine::Event event = std::move(events_.front());
    events_.pop_front();
    take(engine_.apply(event, {.boot = context_.clock.boot(), .wall = context_.clock.wall()}));
  }
  scheduled_ = false;
  if (detached_) return;
  flush();
  arm_timer();
}

void Shell::take(engine::Actions actions) {
  for (const engine::Act& act : actions.now) carry_out(act);
  const WallTime now = context_.clock.wall();
  for (const engine::Record& record : actions.records) write(record, now);
  // What waits for nothing of its own still comes after what an earlier event left waiting.
  const bool waits = committing_ || !gathering_.batch.empty() || !gathering_.then.empty();
  if (actions.records.empty() && !waits) {
    for (const engine::Act& act : actions.then) carry_out(act);
  } else {
    std::move(actions.then.begin(), actions.then.end(), std::back_inserter(gathering_.then));
  }
}

void Shell::arm_timer() {
  const auto due = engine_.next_deadline();
  if (!due) {
    tick_.cancel();
    return;
  }
  tick_.expires_after(std::max<Duration>(*due - context_.clock.boot(), 0us));
  tick_.async_wait([this](boost::system::error_code failure) {
    if (!failure) tell(engine::Tick{});
  });
}

// ---- actions

void Shell::carry_out(const engine::Act& act) {
  using namespace engine::act;
  std::visit(Overloaded{
                 [&](const Acquire& acquire) {
                   auto job = row(acquire.attempt.job);
                   if (!job) {
                     return tell(engine::AcquireFailed{.attempt = acquire.attempt, .refusals = {}});
                   }
                   auto attempt =
                       std::make_shared<Attempt>(context_, acquire.attempt, std::move(*job), acquire.leases);
                   attempts_[acquire.attempt.job] = attempt;
                   attempt->acquire();
                 },
                 [&](const Abandon& abandon) {
                   if (const auto attempt = this->attempt(abandon.attempt.job)) attempt->abandon();
                   attempts_.erase(abandon.attempt.job);
                 },
                 [&](const Start& start) {
                   const auto attempt = this->attempt(start.attempt.job);
                   if (!attempt) return;
                   ++started;
                   const auto owner = owners_.find(start.attempt.job);
                   const int pidfd = owner == owners_.end() || !owner->second.process
                                         ? -1
                                         : owner->second.process->native_handle();
                   auto secrets = secrets_.extract(start.attempt.job);
                   attempt->start(
                       secrets.empty() ? std::map<std::string, std::string>() : std::move(secrets.mapped()),
                       pidfd);
                 },
                 [&](const Stop& stop) {
                   if (const auto attempt = this->attempt(stop.attempt.job))
                     attempt->stop(stop.reason, stop.grace);
                 },
                 [&](const Release& release) {
                   if (const auto attempt = this->attempt(release.attempt.job)) attempt->release(release);
                 },
                 [&](const Finish& finish) {
                   if (const auto attempt = this->attempt(finish.attempt.job)) attempt->finish();
                   attempts_.erase(finish.attempt.job);
                   rows_.erase(finish.attempt.job);
                 },
                 [&](const Watch& watch) {
                   watched_.emplace(watch.is_port, watch.id);
                   if (watched_.size() == 1) look_at_watched();
                 },
                 [&](const Unwatch& unwatch) {
                   watched_.erase({unwatch.is_port, unwatch.id});
                   if (watched_.empty()) watch_.cancel();
                 },
             },
             act);
}

void Shell::look_at_watched() {
  watch_.expires_after(kWatchInterval);
  watch_.async_wait([this](boost::system::error_code failure) {
    if (failure || detached_) return;
    for (const auto& [is_port, id] : std::set(watched_)) {
      if (is_port) {
        const auto port = static_cast<std::uint16_t>(id);
        const bool locked = context_.machine_locks->is_locked(devices::port_lock_name(port));
        if (!locked && devices::check_port_free(port).kind == devices::PortVerdict::Kind::free) {
          tell(engine::DeviceChanged{
              .is_port = true, .id = id, .state = model::DeviceState::free, .why = {}, .outside = {}});
        }
        continue;
      }
      const devices::Gpu& gpu = context_.gpu(id);
      if (context_.lock_directory(gpu).is_locked(devices::gpu_lock_name(gpu))) continue;
      const auto judge = [this, id = id](const devices::GpuVerdict& verdict) {
        using Kind = devices::GpuVerdict::Kind;
        if (verdict.kind != Kind::free) return;
        tell(engine::DeviceChanged{.is_port = false,
                                   .id = id,
                                   .state = model::DeviceState::free,
                                   .why = verdict.text,
                                   .outside = {}});
      };
      if (gpu.kind == devices::GpuKind::declared) {
        judge(devices::declared_free());
      } else {
        context_.gpus->check(gpu, devices::CheckPurpose::before_lease, {}, judge);
      }
    }
    if (!watched_.empty()) look_at_watched();
  });
}

// ---- records

void Shell::write(const engine::Record& record, WallTime at) {
  using namespace engine::record;
  namespace put = store::write;
  store::Batch& batch = gathering_.batch;
  const auto touch = [&](JobId id) { gathering_.touched.push_back(id); };
  std::visit(Overloaded{
                 [&](const JobAdded&) {},  // its row was committed before the engine heard of it
                 [&](const AttemptAdded& added) {
                   store::AttemptRow attempt;
                   attempt.id = added.attempt;
                   attempt.gpus = added.leases.gpus;
                   attempt.ports = added.leases.ports;
                   attempt.memory_bytes = added.leases.memory_bytes;
                   attempt.tier = process::tier_text(context_.containment.tiers());
                   attempt.boot_id = boot_id();
                   batch.push_back(put::AddAttempt{std::move(attempt)});
                   touch(added.attempt.job);
                 },
                 [&](const AttemptRunning& running) {
                   batch.push_back(
                       put::SetRunning{.attempt = running.attempt, .pid = running.pid, .at = running.at});
                   touch(running.attempt.job);
                 },
                 [&](const StopAsked& asked) {
                   batch.push_back(
                       put::SetStopAsked{.attempt = asked.attempt, .reason = asked.reason, .at = asked.at});
                 },
                 [&](const AttemptEnded& gone) {
                   batch.push_back(put::SetEnded{
                       .attempt = gone.attempt, .reason = gone.reason, .exit = gone.exit, .at = gone.at});
                   touch(gone.attempt.job);
                 },
                 [&](const JobEnded& over) {
                   ++ended;
                   if (collecting_) reports_.push_back(over.report);
                   batch.push_back(put::AddReport{over.report});
                   secrets_.erase(over.job);
                   owners_.erase(over.job);
                   if (over.report.attempt == 0) rows_.erase(over.job);
                   touch(over.job);
                 },
                 [&](const AttemptDropped& dropped) {
                   batch.push_back(put::DropAttempt{dropped.attempt});
                   touch(dropped.attempt.job);
                 },
                 [&](const Quarantined& quarantined) {
                   batch.push_back(put::PutQuarantine{{.gpu = quarantined.gpu,
                                                       .uuid = context_.gpu(quarantined.gpu).uuid,
                                                       .why = quarantined.why,
                                                       .attempt = quarantined.attempt}});
                 },
                 [&](const OwnerDropped& dropped) {
                   batch.push_back(put::SetDisowned{dropped.job});
                   if (const auto job = rows_.find(dropped.job); job != rows_.end()) {
                     auto detached = std::make_shared<store::JobRow>(*job->second);
                     detached->spec.owner_lease.reset();
                     job->second = std::move(detached);
                   }
                 },
                 [&](const QuarantineLifted& lifted) { batch.push_back(put::DropQuarantine{lifted.gpu}); },
                 [&](const Note& note) {
                   model::Event event;
                   event.seq = ++event_seq_;
                   event.at = at;
                   event.type = note.type;
                   event.job = note.job;
                   event.state = note.state;
                   event.detail = note.detail;
                   if (note.job) {
                     if (const auto job = rows_.find(*note.job); job != rows_.end()) {
                       event.user = job->second->user;
                     } else if (const auto stored = row(*note.job)) {
                       event.user = (*stored)->user;
                     }
                     touch(*note.job);
                   }
                   gathering_.last_event = event.seq;
                   batch.push_back(put::AddEvent{std::move(event)});
                 },
             },
             record);
}

void Shell::flush() {
  if (committing_ || (gathering_.batch.empty() && gathering_.then.empty())) return;
  committing_ = std::exchange(gathering_, {});
  // The batch is kept until it is on disk: a full disk must lose nothing.
  commit();
}

void Shell::commit() {
  context_.store.commit(committing_->batch, [this, alive = std::weak_ptr(alive_),
                                             &io = context_.io](const store::Store::Outcome& outcome) {
    asio::post(io, [this, alive, outcome] {
      if (alive.lock()) committed(outcome);
    });
  });
}

void Shell::committed(const store::Store::Outcome& outcome) {
  if (detached_ || !committing_) return;
  if (outcome.fatal) {
    const auto handler = fatal_;
    const Error error = outcome.result.ok() ? Error{} : outcome.result.error();
    detach();
    if (handler) handler(error);
    return;
  }
  if (!outcome.result) return retry_later(outcome.result.error());
  failed_.clear();
  const Pending done = std::move(*committing_);
  committing_.reset();
  published_ = std::max(published_, done.last_event);
  for (const engine::Act& act : done.then) carry_out(act);
  for (const JobId id : done.touched) job_waiters_.wake(id);
  if (done.last_event != 0) event_waiters_.wake(kAnyEvent);
  event_waiters_.wake(kShutdown);
  flush();
}

void Shell::retry_later(const Error& error) {
  failed_ = error.message;
  retry_.expires_after(kRetryCommit);
  retry_.async_wait([this](boost::system::error_code failure) {
    if (!failure && !detached_ && committing_) commit();
  });
}

bool Shell::settled() const { return events_.empty() && !committing_ && gathering_.batch.empty(); }

// ---- jobs, owners

void Shell::remember(std::shared_ptr<const store::JobRow> job) {
  if (rows_.size() < kMostRows) rows_[job->id] = std::move(job);
}

Result<std::shared_ptr<const store::JobRow>> Shell::row(JobId id) {
  if (const auto known = rows_.find(id); known != rows_.end()) return known->second;
  auto record = context_.store.job(id);
  if (!record) return std::move(record).error();
  if (!*record) {
    return Error{
        .code = Errc::not_found, .message = "no job " + id.str(), .pointer = {}, .type = "no-such-job"};
  }
  return std::make_shared<const store::JobRow>(std::move((*record)->row));
}

std::shared_ptr<Attempt> Shell::attempt(JobId id) const {
  const auto known = attempts_.find(id);
  return known == attempts_.end() ? nullptr : known->second;
}

void Shell::add_attempt(std::shared_ptr<Attempt> attempt) {
  attempts_[attempt->id().job] = std::move(attempt);
}

void Shell::watch_owner(JobId id, int pidfd) {
  if (pidfd < 0) return;
  const int own = ::fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return;
  Owner& owner = owners_[id];
  owner.process = std::make_unique<asio::posix::stream_descriptor>(context_.io, own);
  owner.process->async_wait(asio::posix::stream_descriptor::wait_read,
                            [this, id](boost::system::error_code failure) {
                              if (!failure) tell(engine::OwnerExited{id});
                            });
}

void Shell::forget_owner(JobId id) { owners_.erase(id); }

bool Shell::owner_connected(JobId id) const {
  const auto owner = owners_.find(id);
  return owner != owners_.end() && owner->second.holds > 0;
}

void Shell::owner_holds(JobId id, int change) { owners_[id].holds += change; }

}  // namespace ebb::daemon
