#include "ebb/daemon/daemon.h"

#include "daemon_impl.h"
#include "ebb/base/units.h"
#include "ebb/process/attempts_folder.h"
#include "ebb/process/containment.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

// How long the end of the daemon waits for keepers that were acknowledged to exit.
constexpr Duration kCleanUpLimit = 5s;
// How long it waits for the disk to take one write; one that takes 10 s is slow, not dead.
constexpr Duration kDiskLimit = 15s;

}  // namespace

const devices::Gpu& Context::gpu(int id) const {
  // Every id in use comes from this list.
  for (const devices::Gpu& gpu : inventory.gpus) {
    if (gpu.id == id) return gpu;
  }
  static const devices::Gpu gone = [] {
    devices::Gpu gpu;
    gpu.kind = devices::GpuKind::declared;
    gpu.uuid = "gone";
    gpu.name = "no longer there";
    return gpu;
  }();
  return gone;
}

void Context::save_baselines() {
  store::Batch batch;
  batch.push_back(store::write::PutValue{.name = kBaselinesName, .value = baselines.write()});
  // A table that is not saved is taken again from an idle GPU.
  store.commit(std::move(batch), [](const store::Store::Outcome&) {});
}

Daemon::Impl::Impl(std::unique_ptr<Context> parts, engine::Engine engine, std::int64_t last_job,
                   std::int64_t last_event, Users known_users)
    : context(std::move(parts)),
      shell(*context, std::move(engine), last_event),
      history(
          *context,
          [this](JobId id) { return shell.engine().find(id).has_value() || shell.attempt(id) != nullptr; }),
      users(std::move(known_users)),
      last_job_seq(last_job),
      key_waiters(context->io) {
  shell.on_ended([this](AttemptId last) { history.ended(last); });
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Daemon::~Daemon() {
  impl_->shell.detach();
  for (const auto& attempt : impl_->context->lingering) attempt->detach();
  impl_->context->files.join();
  process::give_back_attempts(impl_->context->config.state.dir);
}

const std::vector<std::string>& Daemon::recovered() const { return impl_->recovered; }

const Config& Daemon::config() const { return impl_->context->config; }

void Daemon::on_fatal(std::function<void(Error)> handler) { impl_->shell.on_fatal(std::move(handler)); }

bool Daemon::ready() const {
  return !impl_->stopping && impl_->shell.disk_error().empty() && !impl_->shell.engine().draining();
}

const std::string& Daemon::disk_error() const {
  return impl_->disk_hangs ? impl_->disk_error : impl_->shell.disk_error();
}

bool Daemon::disk_hangs() const { return impl_->disk_hangs; }

Daemon::Counters Daemon::counters() const {
  return {.submitted = impl_->shell.submitted,
          .started = impl_->shell.started,
          .ended = impl_->shell.ended,
          .queued = impl_->shell.engine().queued_count(),
          .active = static_cast<std::int64_t>(impl_->shell.engine().active().size()),
          .unwritten = static_cast<std::int64_t>(impl_->shell.unwritten_ends())};
}

// ---- the end

// Bounded by the engine's own deadlines (each attempt's grace, its kill and its releases) and by the disk's.
Task<void> Daemon::Impl::settle(bool idle) {
  while ((idle && !shell.engine().idle()) || !shell.settled()) {
    co_await shell.event_waiters().wait(Shell::kShutdown, 1s);
    if (shell.disk_silent() >= kDiskLimit) {
      disk_hangs = true;
      disk_error = "the disk has not taken a write to " + (context->config.state.dir / "ebb.db").string() +
                   " within " + format_duration(kDiskLimit);
    }
    // What is not on disk is recovered at the next start.
    if (disk_hangs || !shell.disk_error().empty()) co_return;
  }
}

Task<std::vector<model::Report>> Daemon::shutdown(bool keep) {
  Impl& impl = *impl_;
  impl.stopping = true;
  impl.shell.collect_reports();
  impl.shell.apply(engine::Shutdown{.end_jobs = !keep, .now = false});
  co_await impl.settle(!keep);
  // The attempts' folders and cgroups go once their keepers have.
  const BootTime limit = impl.context->clock.boot() + kCleanUpLimit;
  while (!keep && impl.context->closing.use_count() > 1 && impl.context->clock.boot() < limit) {
    co_await impl.shell.event_waiters().wait(Shell::kShutdown, 5ms);
  }
  if (disk_error().empty()) {
    impl.shell.sync();
    co_await impl.settle(false);
  }
  std::vector<model::Report> reports = impl.shell.reports();
  impl.shell.detach();
  if (!keep) process::remove_bases(impl.context->containment);
  if (!keep && impl.context->ports) (void)impl.context->ports->give_back();
  co_return reports;
}

void Daemon::shutdown_now() { impl_->shell.tell(engine::Shutdown{.end_jobs = true, .now = true}); }

}  // namespace ebb::daemon
