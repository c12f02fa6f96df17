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
constexpr Duration kRetryCommit = 500ms;
// What only tells of progress waits so long for something that must be on disk. Jobs that end as fast as they
// start cost one commit less.
constexpr Duration kCompany = 5ms;

}  // namespace

Shell::Shell(Context& context, engine::Engine engine, std::int64_t last_event)
    : context_(context),
      engine_(std::move(engine)),
      tick_(context.io),
      company_(context.io),
      asked_(BootTime::max()),
      retry_(context.io),
      watches_(context),
      job_waiters_(context.io),
      event_waiters_(context.io),
      event_seq_(last_event),
      published_(last_event) {
  context_.tell = [this](engine::Event event) { tell(std::move(event)); };
  context_.disk_failed = [this](const Error& error) { disk_failed(error); };
}

Shell::~Shell() { detach(); }

void Shell::detach() {
  detached_ = true;
  for (const auto& [id, attempt] : attempts_) attempt->detach();
  attempts_.clear();
  owners_.clear();
  tick_.cancel();
  company_.cancel();
  retry_.cancel();
  watches_.clear();
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

void Shell::submit(NewJob job, std::function<void(Result<void>)> done) {
  const JobId id = job.row->id;
  if (detached_) {
    return answer({id, std::move(done)},
                  Error{.code = Errc::unavailable, .message = "the daemon ends", .pointer = {}, .type = {}});
  }
  arriving_[id] = {.key = std::move(job.key), .done = std::move(done)};
  if (!job.secrets.empty()) secrets_[id] = std::move(job.secrets);
  watch_owner(id, job.owner);
  rows_[id] = std::move(job.row);  // however many there are: it cannot be read back yet
  apply(engine::Submitted{std::move(job.info)});
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
  const bool waits = committing_ || !gathering_.empty();
  if (actions.records.empty() && !waits) {
    for (const engine::Act& act : actions.then) carry_out(act);
  } else {
    gathering_.urgent |= !actions.then.empty();
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
  tick_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
    if (!failure && alive.lock()) tell(engine::Tick{});
  });
}

// ---- commits

void Shell::flush() {
  if (committing_ || gathering_.empty()) return;
  if (!gathering_.urgent) return wait_for_company();
  company_.cancel();
  committing_ = std::exchange(gathering_, {});
  // The batch is kept until it is on disk: a full disk must lose nothing.
  commit();
}

void Shell::wait_for_company() {
  if (std::exchange(waits_for_company_, true)) return;
  company_.expires_after(kCompany);
  company_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code) {
    if (!alive.lock()) return;
    waits_for_company_ = false;
    gathering_.urgent = true;
    if (!detached_) flush();
  });
}

void Shell::commit() {
  asked_ = context_.clock.boot();
  context_.store.commit(committing_->batch, [this, alive = std::weak_ptr(alive_),
                                             &io = context_.io](const store::Store::Outcome& outcome) {
    asio::post(io, [this, alive, outcome] {
      if (alive.lock()) committed(outcome);
    });
  });
}

void Shell::committed(const store::Store::Outcome& outcome) {
  if (detached_ || !committing_) return;
  asked_ = BootTime::max();
  if (outcome.fatal) return disk_failed(outcome.result.error());
  if (!outcome.result) {
    const bool alone = committing_->unanswered.empty();
    refuse_new_jobs(outcome.result.error());
    return alone ? retry_later(outcome.result.error()) : commit();
  }
  failed_.clear();
  Pending done = std::move(*committing_);
  committing_.reset();
  std::move(done.reports.begin(), done.reports.end(), std::back_inserter(reports_));
  published_ = std::max(published_, done.last_event);
  for (const engine::Act& act : done.then) carry_out(act);
  for (const Pending::Unanswered& job : done.unanswered) {
    if (rows_.size() > kMostRows) rows_.erase(job.id);
    answer(job, {});
  }
  for (const JobId id : done.touched) job_waiters_.wake(id);
  if (on_ended_) {
    for (const AttemptId last : done.ended) on_ended_(last);
  }
  if (done.last_event != 0) event_waiters_.wake(kAnyEvent);
  event_waiters_.wake(kShutdown);
  flush();
}

void Shell::answer(const Pending::Unanswered& job, const Result<void>& result) {
  asio::post(context_.io, [done = job.done, result] { done(result); });
}

// Of the jobs that came last nobody knows yet, so that they need not wait for a disk that is full.
void Shell::refuse_new_jobs(const Error& error) {
  for (Pending* const pending : {&*committing_, &gathering_}) {
    for (const Pending::Unanswered& job : std::exchange(pending->unanswered, {})) {
      committing_->drop(job.id);
      gathering_.drop(job.id);
      rows_.erase(job.id);
      secrets_.erase(job.id);
      owners_.erase(job.id);
      // Before what is told of it meanwhile.
      events_.push_front(engine::NotRecorded{job.id});
      answer(job, error);
    }
  }
  drain();
}

void Shell::disk_failed(const Error& error) {
  if (detached_) return;
  for (const Pending* const pending : {committing_ ? &*committing_ : nullptr, &gathering_}) {
    if (pending == nullptr) continue;
    for (const Pending::Unanswered& job : pending->unanswered) answer(job, error);
  }
  const auto handler = fatal_;
  detach();
  if (handler) handler(error);
}

void Shell::retry_later(const Error& error) {
  failed_ = error.message;
  retry_.expires_after(kRetryCommit);
  retry_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
    if (!failure && alive.lock() && !detached_ && committing_) commit();
  });
}

// Batches become durable in the order in which they were committed, so that an empty one comes last.
void Shell::sync() {
  if (committing_) return;
  committing_.emplace(Pending{});
  commit();
}

Duration Shell::disk_silent() const {
  return asked_ == BootTime::max() ? Duration{} : context_.clock.boot() - asked_;
}

std::size_t Shell::unwritten_ends() const {
  return gathering_.ended.size() + (committing_ ? committing_->ended.size() : 0);
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
  UniqueFd own(::fcntl(pidfd, F_DUPFD_CLOEXEC, 0));
  if (!own) return;
  owners_[id].process =
      std::make_unique<ExitWatch>(context_.io, std::move(own), [this, id] { tell(engine::OwnerExited{id}); });
}

void Shell::forget_owner(JobId id) { owners_.erase(id); }

bool Shell::owner_connected(JobId id) const {
  const auto owner = owners_.find(id);
  return owner != owners_.end() && owner->second.holds > 0;
}

void Shell::owner_holds(JobId id, int change) {
  // Of a job that has ended, nothing is known any more when its owner lets go, and nothing is to be.
  if (const auto owner = owners_.find(id); owner != owners_.end()) {
    owner->second.holds += change;
  } else if (change > 0) {
    owners_[id].holds = change;
  }
}

}  // namespace ebb::daemon
