#include "releases.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>

#include "ebb/base/units.h"
#include "ebb/process/scratch.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using model::Outcome;
using model::ReleaseKind;
using model::ReleaseRecord;

std::string names_of(const std::vector<process::Survivor>& survivors) {
  std::string text;
  for (const auto& survivor : survivors) {
    text += (text.empty() ? "" : ", ") + survivor.comm + " (pid " + std::to_string(survivor.pid) + ")";
  }
  return text;
}

// When the end of the tree began: the stop, or else the leader's own exit.
std::optional<process::Moment> end_began(const process::EndRecord& end) {
  if (end.stop_requested && end.leader_exited) {
    return end.stop_requested->boot < end.leader_exited->boot ? end.stop_requested : end.leader_exited;
  }
  return end.stop_requested ? end.stop_requested : end.leader_exited;
}

class GpuRelease final : public lifecycle::Release {
 public:
  GpuRelease(Context& context, int gpu, std::shared_ptr<HeldLock> lock, std::function<bool(pid_t)> belongs)
      : context_(context), gpu_(gpu), lock_(std::move(lock)), belongs_(std::move(belongs)) {}

  [[nodiscard]] ReleaseRecord describe() const override {
    ReleaseRecord record;
    record.kind = ReleaseKind::gpu;
    record.target = std::to_string(gpu_);
    return record;
  }

  void begin(Done done) override {
    const devices::Gpu& gpu = context_.gpu(gpu_);
    if (gpu.kind == devices::GpuKind::declared) return done(record_of(devices::declared_free()));
    context_.gpus->wait_free(gpu, context_.config.jobs.gpu_release_timeout, belongs_,
                             [alive = std::weak_ptr(alive_), this, done](const devices::GpuVerdict& verdict) {
                               if (alive.lock()) done(record_of(verdict));
                             });
  }

  [[nodiscard]] ReleaseRecord expire() override {
    ReleaseRecord record = describe();
    record.outcome = Outcome::quarantined;
    record.error = "the driver gave no answer in time; nobody gets this GPU until it is verified free";
    return record;
  }

 private:
  ReleaseRecord record_of(const devices::GpuVerdict& verdict) {
    using Kind = devices::GpuVerdict::Kind;
    if (verdict.baseline_changed) context_.save_baselines();
    ReleaseRecord record = describe();
    record.verified_by = verdict.text;
    if (verdict.kind == Kind::free) {
      if (lock_) lock_->verified_free = true;
    } else if (verdict.kind == Kind::outside) {
      record.outside = verdict.outside;
      context_.tell(engine::DeviceChanged{.is_port = false,
                                          .id = gpu_,
                                          .state = model::DeviceState::outside,
                                          .why = verdict.text,
                                          .outside = verdict.outside});
    } else {
      record.outcome = Outcome::quarantined;
      record.verified_by = std::nullopt;
      record.error = verdict.text;
    }
    return record;
  }

  Context& context_;
  int gpu_;
  std::shared_ptr<HeldLock> lock_;
  std::function<bool(pid_t)> belongs_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();
};

class ScratchRelease final : public lifecycle::Release {
 public:
  ScratchRelease(Context& context, AttemptId attempt)
      : context_(context), folder_(context.scratch_folder(attempt)) {}
  ~ScratchRelease() override { work_->stop = true; }

  [[nodiscard]] ReleaseRecord describe() const override {
    ReleaseRecord record;
    record.kind = ReleaseKind::scratch;
    record.target = folder_.string();
    record.action = "removed";
    return record;
  }

  void begin(Done done) override {
    // Most jobs leave it empty: then no thread is needed.
    if (::rmdir(folder_.c_str()) == 0 || errno == ENOENT) return done(removed(0));
    work_->done = std::move(done);
    asio::post(context_.files, [work = work_, folder = folder_, &io = context_.io, this] {
      auto removal = process::remove_tree(folder, BootTime::max(), &work->stop);
      asio::post(io, [work, removal = std::move(removal), this] {
        // Stopped: this release may be gone, and has given its answer.
        if (!work->stop) std::exchange(work->done, nullptr)(record_of(removal));
      });
    });
  }

  [[nodiscard]] ReleaseRecord expire() override {
    work_->stop = true;
    ReleaseRecord record = describe();
    record.outcome = Outcome::failed;
    record.error = "it takes too long; remove it by hand: rm -rf " + folder_.string();
    return record;
  }

 private:
  struct Work {
    std::atomic<bool> stop = false;
    Done done;
  };

  [[nodiscard]] ReleaseRecord removed(std::uint64_t count) const {
    ReleaseRecord record = describe();
    record.verified_by = "no such file";
    if (count > 0) record.count = static_cast<std::int64_t>(count);
    return record;
  }
  [[nodiscard]] ReleaseRecord record_of(const process::TreeRemoval& removal) const {
    if (removal.complete) return removed(removal.removed);
    ReleaseRecord record = describe();
    record.outcome = Outcome::failed;
    record.error = removal.left.empty() ? "something in it could not be removed" : removal.left.front();
    return record;
  }

  Context& context_;
  std::filesystem::path folder_;
  std::shared_ptr<Work> work_ = std::make_shared<Work>();
};

}  // namespace

std::unique_ptr<lifecycle::Release> processes_release(const process::EndRecord& end,
                                                      const std::string& target) {
  ReleaseRecord record;
  record.kind = ReleaseKind::processes;
  record.target = target;
  if (!end.action.empty()) record.action = end.action;
  record.count = static_cast<std::int64_t>(end.processes);
  if (end.complete) {
    record.verified_by = end.verified_by;
  } else {
    record.outcome = Outcome::quarantined;
    record.error = "still there after the kill: " + names_of(end.survivors);
  }
  const auto began = end_began(end);
  if (began && end.ended) record.took_ms = to_ms(end.ended->boot - began->boot);
  return lifecycle::release_by(record, [record] { return record; });
}

std::unique_ptr<lifecycle::Release> gpu_release(Context& context, int gpu, std::shared_ptr<HeldLock> lock,
                                                std::function<bool(pid_t)> belongs) {
  return std::make_unique<GpuRelease>(context, gpu, std::move(lock), std::move(belongs));
}

std::unique_ptr<lifecycle::Release> port_release(int port, std::function<bool(const Listener&)> is_own) {
  ReleaseRecord what;
  what.kind = ReleaseKind::port;
  what.target = std::to_string(port);
  return lifecycle::release_by(what, [what, port, is_own = std::move(is_own)] {
    ReleaseRecord record = what;
    const auto number = static_cast<std::uint16_t>(port);
    const devices::PortVerdict verdict = devices::check_port_released(number);
    record.verified_by = verdict.text;
    if (verdict.kind == devices::PortVerdict::Kind::free) return record;
    const auto listeners = tcp_listeners(number, number);
    const bool own = !listeners || std::any_of(listeners->begin(), listeners->end(), is_own);
    if (own) {
      record.outcome = Outcome::quarantined;
      record.verified_by = std::nullopt;
      record.error = verdict.text;
    }
    return record;
  });
}

std::unique_ptr<lifecycle::Release> ipc_release(process::IpcClaim claim) {
  ReleaseRecord what;
  what.kind = ReleaseKind::ipc;
  what.target = "shared memory, semaphores, message queues";
  what.action = "swept";
  return lifecycle::release_by(what, [what, claim = std::move(claim)] {
    ReleaseRecord record = what;
    const auto sweep = process::sweep_after_end(claim);
    if (!sweep) {
      record.outcome = Outcome::failed;
      record.error = sweep.error().message;
      return record;
    }
    record.count = static_cast<std::int64_t>(sweep->removed.size());
    if (sweep->failed.empty()) {
      record.verified_by = "none of the attempt's is listed";
    } else {
      record.outcome = Outcome::failed;
      record.error = sweep->failed.front();
    }
    return record;
  });
}

std::unique_ptr<lifecycle::Release> scratch_release(Context& context, AttemptId attempt) {
  return std::make_unique<ScratchRelease>(context, attempt);
}

}  // namespace ebb::daemon
