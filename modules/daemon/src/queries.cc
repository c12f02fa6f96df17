#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "daemon_impl.h"
#include "ebb/base/units.h"
#include "refusal.h"

namespace ebb::daemon {

Error no_such_job(JobId id) {
  return refused(Errc::not_found, "no job " + id.str() + "; 'ebb ps -a' lists all", "no-such-job");
}
Error not_yours(JobId id) {
  return refused(Errc::forbidden, "job " + id.str() + " is not yours", "not-yours");
}

bool Daemon::Impl::may_see(const Caller& caller, const store::JobRow& row) const {
  return caller.admin || caller.user == row.user;
}

model::Job Daemon::Impl::view(const Caller& caller, const store::JobRecord& record) const {
  const store::JobRow& row = record.row;
  const bool full = may_see(caller, row);
  model::Job job;
  job.id = row.id;
  if (!row.spec.name.empty()) job.name = row.spec.name;
  job.user = row.user;
  job.submitted_at = row.submitted_at;
  job.spec = model::describe(row.spec, full);
  if (full && !row.surroundings.workdir.empty()) job.spec.workdir = row.surroundings.workdir;

  const auto live = shell.engine().find(row.id);
  if (live) {
    job.state = live->state;
    job.attempt = live->attempt;
    job.gpu_ids = live->leases.gpus;
    job.ports = live->leases.ports;
    job.started_at = live->started_at;
    if (live->state == model::JobState::queued) {
      job.position = shell.engine().position(row.id);
      if (const auto why = shell.engine().why(row.id); why && !why->blockers.empty()) {
        job.why = why->blockers.front().text;
      }
    } else {
      // Its keeper may not have told this daemon yet.
      job.pid = live->pid || !record.attempt ? live->pid : record.attempt->pid;
      if (const auto attempt = shell.attempt(row.id)) job.tier = attempt->tier();
    }
    if (row.spec.memory_bytes) job.memory_enforced = context->containment.memory.available;
    if (full) job.reason = live->stop_reason;
    if (row.spec.owner_lease) {
      job.owner =
          model::OwnerView{.lease_s = to_seconds(*row.spec.owner_lease), .connected = live->owner_connected};
    }
  } else {
    job.state = record.state;
    if (record.attempt) {
      job.attempt = static_cast<int>(record.attempt->id.number);
      job.gpu_ids = record.attempt->gpus;
      job.ports = record.attempt->ports;
      job.started_at = record.attempt->started_at;
      job.tier = record.attempt->tier;
      if (full) job.exit = record.attempt->exit;
    }
    if (record.report) {
      job.ended_at = record.report->released_at;
      if (full) {
        job.reason = record.report->reason;
        job.exit = record.report->exit;
      }
    }
    if (row.spec.owner_lease)
      job.owner = model::OwnerView{.lease_s = to_seconds(*row.spec.owner_lease), .connected = false};
  }
  if (!job.ports.empty() && full) {
    job.server_url = "http://" + context->config.jobs.advertise + ":" + std::to_string(job.ports.front());
  }
  // Others' jobs show id, name, user, state, resources and times only.
  if (!full) {
    job.pid.reset();
    job.owner.reset();
    job.position.reset();
    job.why.reset();
    job.tier.reset();
  }
  return job;
}

Result<model::Job> Daemon::Impl::job(const Caller& caller, JobId id) const {
  // One that runs without a number is of an earlier daemon, and its keeper has not told yet: the database
  // knows.
  if (const auto live = shell.engine().find(id);
      live && (live->pid || live->state != model::JobState::running)) {
    if (auto known = shell.row(id))
      return view(caller, store::JobRecord{.row = **known, .state = {}, .attempt = {}, .report = {}});
  }
  auto record = context->store.job(id);
  if (!record) return std::move(record).error();
  if (!*record) return no_job(id);
  return view(caller, **record);
}

Error Daemon::Impl::no_job(JobId id) const {
  const auto known = context->store.known(id);
  if (!known || !*known) return no_such_job(id);
  return refused(Errc::not_found,
                 "job " + id.str() + " has ended and is no longer kept ([history] in the configuration)",
                 "job-dropped");
}

Result<std::shared_ptr<const store::JobRow>> Daemon::Impl::own_row(const Caller& caller, JobId id) const {
  auto known = shell.row(id);
  if (!known) return known.error().code == Errc::not_found ? no_job(id) : std::move(known).error();
  if (!may_see(caller, **known)) return not_yours(id);
  return known;
}

Result<model::Job> Daemon::job(const Caller& caller, JobId id) const { return impl_->job(caller, id); }

Result<model::JobList> Daemon::with_prefix(const Caller& caller, std::string_view prefix, int limit) const {
  auto ids = impl_->context->store.with_prefix(prefix, limit);
  if (!ids) return std::move(ids).error();
  model::JobList list;
  for (const JobId id : *ids) {
    auto one = impl_->job(caller, id);
    if (!one) return std::move(one).error();
    list.items.push_back(std::move(*one));
    list.items.back().spec.env.reset();
  }
  return list;
}

Result<model::JobList> Daemon::jobs(const Caller& caller, const JobFilter& filter) const {
  store::JobQuery query;
  query.states = filter.states;
  query.user = filter.user;
  query.group = filter.group;
  query.name = filter.name;
  query.since = filter.since;
  query.oldest_first = filter.oldest_first;
  const int limit = std::clamp(filter.limit, 1, 1000);
  query.limit = limit + 1;  // the one more tells whether there is a next page
  if (filter.cursor) {
    std::int64_t before = 0;
    const auto [end, failure] =
        std::from_chars(filter.cursor->data(), filter.cursor->data() + filter.cursor->size(), before);
    if (failure != std::errc() || end != filter.cursor->data() + filter.cursor->size() || before < 1) {
      return Error{.code = Errc::invalid,
                   .message = "this cursor was not given by this server",
                   .pointer = {},
                   .type = "invalid-cursor"};
    }
    query.before_seq = before;
  }
  auto records = impl_->context->store.jobs(query);
  if (!records) return std::move(records).error();
  model::JobList list;
  if (records->size() > static_cast<std::size_t>(limit)) {
    records->pop_back();
    list.next_cursor = std::to_string(records->back().row.seq);
  }
  for (const store::JobRecord& record : *records) {
    list.items.push_back(impl_->view(caller, record));
    list.items.back().spec.env.reset();  // values of the environment are never in lists
  }
  return list;
}

Result<model::Why> Daemon::why(const Caller& caller, JobId id) const {
  if (auto row = impl_->own_row(caller, id); !row) return std::move(row).error();
  if (auto why = impl_->shell.engine().why(id)) return std::move(*why);
  auto job = impl_->job(caller, id);
  if (!job) return std::move(job).error();
  model::Why why;
  why.state = job->state;
  return why;
}

Result<model::Report> Daemon::report(const Caller& caller, JobId id) const {
  if (auto row = impl_->own_row(caller, id); !row) return std::move(row).error();
  auto report = impl_->context->store.report(id, std::nullopt);
  if (!report) return std::move(report).error();
  if (*report) return std::move(**report);
  return refused(Errc::not_found, "job " + id.str() + " has not ended; its report comes with its end",
                 "no-such-report");
}

Result<std::filesystem::path> Daemon::log_folder(const Caller& caller, JobId id) const {
  auto row = impl_->own_row(caller, id);
  if (!row) return std::move(row).error();
  auto job = impl_->job(caller, id);
  if (!job) return std::move(job).error();
  if (job->attempt == 0) {
    return refused(Errc::not_found, "job " + id.str() + " has no log yet: it has not been started", "no-log");
  }
  auto folder = impl_->context->log_folder({id, static_cast<std::uint32_t>(job->attempt)});
  if (job->ended_at && impl_->history.log_dropped({.at = *job->ended_at, .seq = (*row)->seq}) &&
      ::access(folder.c_str(), F_OK) != 0) {
    return refused(Errc::not_found,
                   "the log of job " + id.str() + " is no longer kept: all logs together may take " +
                       format_size(impl_->context->config.history.logs) + " ([history] logs)",
                   "log-dropped");
  }
  return folder;
}

Task<Result<model::Job>> Daemon::changed(Caller caller, JobId id, model::JobState seen, Duration wait) {
  Impl& impl = *impl_;
  const BootTime until = impl.context->clock.boot() + wait;
  for (;;) {
    auto job = impl.job(caller, id);
    const Duration left = until - impl.context->clock.boot();
    if (!job || job->state != seen || left <= Duration(0)) co_return job;
    co_await impl.shell.job_waiters().wait(id, left);
  }
}

Task<Result<Daemon::Events>> Daemon::events(Caller caller, std::int64_t seq, Duration wait) {
  Impl& impl = *impl_;
  const BootTime until = impl.context->clock.boot() + wait;
  for (;;) {
    Events answer;
    auto range = impl.context->store.event_range();
    if (!range) co_return std::move(range).error();
    answer.reset = range->first > seq + 1 || seq > impl.shell.last_event();
    if (answer.reset) seq = impl.shell.last_event();
    auto events = impl.context->store.events_after(seq, 500);
    if (!events) co_return std::move(events).error();
    for (model::Event& event : *events) {
      // Others' jobs show state and times only.
      if (event.user && !caller.admin && *event.user != caller.user) event.detail.reset();
      answer.events.push_back(std::move(event));
    }
    const Duration left = until - impl.context->clock.boot();
    if (answer.reset || !answer.events.empty() || left <= Duration(0)) co_return answer;
    co_await impl.shell.event_waiters().wait(Shell::kAnyEvent, left);
  }
}

std::int64_t Daemon::last_event() const { return impl_->shell.last_event(); }

}  // namespace ebb::daemon
