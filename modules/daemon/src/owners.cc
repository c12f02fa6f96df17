#include "daemon_impl.h"
#include "ebb/base/units.h"
#include "refusal.h"

namespace ebb::daemon {
namespace {

// How long an answer to a cancel waits for the disk, beyond what it was asked to wait.
constexpr Duration kRecordLimit = std::chrono::seconds(10);

// What only a living job that was submitted with an owner has.
Result<void> has_owner(const store::JobRow& row, bool lives) {
  if (!row.spec.owner_lease) {
    return refused(Errc::conflict, "job " + row.id.str() + " is detached: it has no owner to be held by",
                   "not-attached");
  }
  if (!lives) {
    return refused(Errc::conflict, "job " + row.id.str() + " has ended; see its report", "ended");
  }
  return {};
}

class Hold final : public OwnerHold {
 public:
  Hold(Shell& shell, const Clock& clock, JobId job)
      : shell_(shell), clock_(clock), job_(job), seen_(clock.boot()) {
    shell_.owner_holds(job_, 1);
    shell_.tell(engine::OwnerConnected{job_});
  }
  ~Hold() override {
    shell_.owner_holds(job_, -1);
    if (!shell_.owner_connected(job_)) shell_.tell(engine::OwnerDisconnected{.job = job_, .since = seen_});
  }
  void renew() override { seen_ = clock_.boot(); }

 private:
  Shell& shell_;
  const Clock& clock_;
  JobId job_;
  BootTime seen_;
};

}  // namespace

Result<std::unique_ptr<OwnerHold>> Daemon::hold(const Caller& caller, JobId id) {
  auto row = impl_->own_row(caller, id);
  if (!row) return std::move(row).error();
  const bool lives = impl_->shell.engine().find(id).has_value();
  if (auto owned = has_owner(**row, lives); !owned) return std::move(owned).error();
  // Who holds the job is who it lives with from now on, also after a new daemon has taken it over.
  if (caller.peer) impl_->shell.watch_owner(id, caller.peer->pidfd.get());
  return std::unique_ptr<OwnerHold>(std::make_unique<Hold>(impl_->shell, impl_->context->clock, id));
}

Result<void> Daemon::disown(const Caller& caller, JobId id) {
  if (auto row = impl_->own_row(caller, id); !row) return std::move(row).error();
  impl_->shell.forget_owner(id);
  impl_->shell.tell(engine::OwnerDropped{id});
  return {};
}

Result<void> Daemon::suspend_owner(const Caller& caller, JobId id, bool suspended) {
  auto row = impl_->own_row(caller, id);
  if (!row) return std::move(row).error();
  const bool lives = impl_->shell.engine().find(id).has_value();
  if (auto owned = has_owner(**row, lives); !owned) return owned;
  if (suspended) {
    impl_->shell.tell(engine::OwnerSuspended{id});
  } else {
    impl_->shell.tell(engine::OwnerResumed{id});
  }
  return {};
}

Task<Result<Cancelled>> Daemon::cancel(Caller caller, JobId id, CancelRequest request) {
  Impl& impl = *impl_;
  auto row = impl.own_row(caller, id);
  if (!row) co_return std::move(row).error();
  const BootTime until = impl.context->clock.boot() + request.wait;
  bool recorded = true;
  if (const auto live = impl.shell.engine().find(id)) {
    recorded = false;
    const bool completes = request.complete && live->state != model::JobState::queued;
    model::StopReason reason{.kind = completes ? model::StopKind::completed : model::StopKind::cancelled,
                             .by = request.by,
                             .detail = request.detail.empty() ? std::nullopt : std::optional(request.detail)};
    impl.shell.apply(engine::StopRequested{.job = id, .reason = std::move(reason), .grace = request.grace});
  }
  for (;;) {
    auto report = impl.context->store.report(id, std::nullopt);
    if (!report) co_return std::move(report).error();
    const Duration left = until - impl.context->clock.boot();
    if (!*report && !recorded) {
      auto record = impl.context->store.job(id);
      if (!record) co_return std::move(record).error();
      recorded = !*record || (*record)->state == model::JobState::releasing;
      if (!recorded && left <= -kRecordLimit) {
        co_return refused(Errc::unavailable,
                          "the disk has not taken the stop of job " + id.str() + " within " +
                              format_duration(kRecordLimit) + "; the job is stopped once it does",
                          "not-recorded");
      }
    }
    if (*report || (recorded && left <= Duration(0))) {
      auto job = impl.job(caller, id);
      if (!job) co_return std::move(job).error();
      co_return Cancelled{.job = std::move(*job), .report = std::move(*report)};
    }
    co_await impl.shell.job_waiters().wait(id, recorded ? left : std::max(left, Duration(0)) + kRecordLimit);
  }
}

}  // namespace ebb::daemon
