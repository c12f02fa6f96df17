#include "ebb/devices/gpu_checker.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "ebb/base/units.h"

namespace ebb::devices {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kLongestPause = std::chrono::milliseconds(100);

// One wait_free() under way. Ends once: with a verdict that is final, or when its deadline passes.
struct Wait {
  Wait(boost::asio::io_context& loop, Gpu asked, GpuChecker::Belongs of_job, GpuChecker::Done callback)
      : gpu(std::move(asked)),
        belongs(std::move(of_job)),
        done(std::move(callback)),
        deadline(loop),
        pause(loop) {}

  Gpu gpu;
  GpuChecker::Belongs belongs;
  GpuChecker::Done done;  // empty once it has ended
  boost::asio::steady_timer deadline;
  boost::asio::steady_timer pause;
  Duration next_pause = kFirstPause;
  GpuVerdict last;
};

}  // namespace

class GpuChecker::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& loop, NvmlClient& nvml, BaselineTable& baselines, GpuRules rules,
       Duration call_deadline)
      : loop_(loop),
        nvml_(&nvml),
        baselines_(&baselines),
        rules_(std::move(rules)),
        call_deadline_(call_deadline) {}

  // `again` tells whether another look may help: somebody ended the helper, or it was busy.
  using Looked = std::function<void(GpuVerdict, bool again)>;

  void look(const Gpu& gpu, CheckPurpose purpose, Belongs belongs, Looked looked) {
    if (gpu.kind == GpuKind::declared) {
      boost::asio::post(loop_, [weak = weak_from_this(), looked = std::move(looked)] {
        if (!weak.expired()) looked(declared_free(), false);
      });
      return;
    }
    nvml_->usage(gpu.uuid, call_deadline_,
                 [weak = weak_from_this(), purpose, belongs = std::move(belongs),
                  looked = std::move(looked)](Result<GpuUsage> usage) {
                   const auto self = weak.lock();
                   if (!self) return;
                   if (!usage) {
                     looked(unknown(usage.error()), usage.error().code == Errc::unavailable);
                     return;
                   }
                   looked(judge(*usage, purpose, self->rules_, *self->baselines_, belongs), true);
                 });
  }

  void wait_free(const Gpu& gpu, Duration deadline, Belongs belongs, Done done) {
    auto wait = std::make_shared<Wait>(loop_, gpu, std::move(belongs), std::move(done));
    wait->last = unknown(Error{.code = Errc::timeout,
                               .message = "the GPU driver has not answered for " + format_duration(deadline),
                               .pointer = {},
                               .type = {}});
    wait->deadline.expires_after(deadline);
    wait->deadline.async_wait([weak = weak_from_this(), wait](const boost::system::error_code& error) {
      if (!error && !weak.expired()) end(*wait);
    });
    look_again(wait);
  }

 private:
  static void end(Wait& wait) {
    wait.deadline.cancel();
    wait.pause.cancel();
    if (auto done = std::exchange(wait.done, nullptr)) done(std::move(wait.last));
  }

  void look_again(const std::shared_ptr<Wait>& wait) {
    look(wait->gpu, CheckPurpose::at_release, wait->belongs,
         [weak = weak_from_this(), wait](GpuVerdict verdict, bool again) {
           const auto self = weak.lock();
           if (!self || !wait->done) return;
           const bool changed = wait->last.baseline_changed || verdict.baseline_changed;
           wait->last = std::move(verdict);
           wait->last.baseline_changed = changed;
           const auto kind = wait->last.kind;
           if (!again || kind == GpuVerdict::Kind::free || kind == GpuVerdict::Kind::outside) {
             end(*wait);
             return;
           }
           self->pause(wait);
         });
  }

  void pause(const std::shared_ptr<Wait>& wait) {
    wait->pause.expires_after(wait->next_pause);
    wait->next_pause = std::min(wait->next_pause * 2, kLongestPause);
    wait->pause.async_wait([weak = weak_from_this(), wait](const boost::system::error_code& error) {
      const auto self = weak.lock();
      if (!error && self && wait->done) self->look_again(wait);
    });
  }

  boost::asio::io_context& loop_;
  NvmlClient* nvml_;
  BaselineTable* baselines_;
  GpuRules rules_;
  Duration call_deadline_;
};

GpuChecker::GpuChecker(boost::asio::io_context& loop, NvmlClient& nvml, BaselineTable& baselines,
                       GpuRules rules, Duration call_deadline)
    : impl_(std::make_shared<Impl>(loop, nvml, baselines, std::move(rules), call_deadline)) {}

GpuChecker::~GpuChecker() = default;

void GpuChecker::check(const Gpu& gpu, CheckPurpose purpose, Belongs belongs, Done done) {
  impl_->look(gpu, purpose, std::move(belongs),
              [done = std::move(done)](GpuVerdict verdict, bool) { done(std::move(verdict)); });
}

void GpuChecker::wait_free(const Gpu& gpu, Duration deadline, Belongs belongs, Done done) {
  impl_->wait_free(gpu, deadline, std::move(belongs), std::move(done));
}

}  // namespace ebb::devices
