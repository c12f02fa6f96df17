#include "quarantine.h"

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;

// Between two looks at a GPU that is quarantined although no process of its attempt is left.
constexpr Duration kLookAgain = 5s;

}  // namespace

Quarantine::Quarantine(Context& context, std::shared_ptr<AttemptLocks> locks,
                       std::shared_ptr<const AttemptProcesses> processes, std::function<void()> emptied)
    : context_(context),
      locks_(std::move(locks)),
      processes_(std::move(processes)),
      emptied_(std::move(emptied)),
      timer_(context.io) {}

void Quarantine::take_from(model::Report& report, const std::vector<int>& gpus) {
  std::size_t index = 0;
  for (model::ReleaseRecord& record : report.releases) {
    if (record.kind != model::ReleaseKind::gpu) continue;
    if (processes_->left() && record.outcome == model::Outcome::released) {
      record.outcome = model::Outcome::quarantined;
      record.error = "a process of the job is still there";
    }
    if (record.outcome == model::Outcome::quarantined) gpus_.insert(gpus[index]);
    ++index;
  }
}

void Quarantine::watch() {
  if (gpus_.empty() || stopped_) return;
  // A lock that a killed keeper, or a neighbour, still had when it was asked for is had later.
  for (const int gpu : gpus_) locks_->take_again(gpu);
  timer_.expires_after(kLookAgain);
  timer_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
    if (failure) return;
    self->look();
    self->watch();
  });
}

void Quarantine::stop() {
  stopped_ = true;
  timer_.cancel();
}

void Quarantine::look() {
  for (const int gpu : std::set(gpus_)) recheck(gpu, [](bool, const std::string&) {});
}

void Quarantine::recheck(int id, Done done) {
  if (processes_->left()) return done(false, "a process of " + processes_->id().str() + " is still there");
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
      [processes = processes_](pid_t pid) { return processes->owns(pid); }, judge);
}

void Quarantine::lift(int gpu, const devices::GpuVerdict& verdict) {
  if (stopped_ || gpus_.erase(gpu) == 0) return;
  locks_->give_back_gpu(gpu);
  const bool outside = verdict.kind == devices::GpuVerdict::Kind::outside;
  context_.tell(
      engine::DeviceChanged{.is_port = false,
                            .id = gpu,
                            .state = outside ? model::DeviceState::outside : model::DeviceState::free,
                            .why = verdict.text,
                            .outside = verdict.outside});
  if (!gpus_.empty()) return;
  timer_.cancel();
  emptied_();
}

}  // namespace ebb::daemon
