#include "ebb/devices/watch.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>

namespace ebb::devices {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr std::size_t kMostHolders = 64;  // whose end is waited for; the interval covers the rest

}  // namespace

class DeviceWatch::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& loop, Duration interval, Look look)
      : loop_(loop), interval_(interval), look_(std::move(look)), pause_(loop), next_pause_(interval) {}

  void start() {
    boost::asio::post(loop_, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look();
    });
  }

 private:
  void look() {
    if (looking_) return;
    looking_ = true;
    look_([weak = weak_from_this()](Seen seen) {
      auto self = weak.lock();
      if (!self) return;
      self->looking_ = false;
      if (!seen.free) self->wait(seen);
      if (seen.tell) seen.tell();  // last: it may destroy the watch
    });
  }

  void wait(const Seen& seen) {
    holders_.clear();
    for (const pid_t pid : seen.holders) {
      if (holders_.size() < kMostHolders) watch_end_of(pid);
    }
    pause_.expires_after(next_pause_);
    next_pause_ = std::min(next_pause_ * 2, interval_);
    pause_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      auto self = weak.lock();
      if (!error && self) self->look();
    });
  }

  void watch_end_of(pid_t pid) {
    const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) return;  // gone, or not of this PID namespace: the next look tells
    holders_.emplace_back(loop_, fd);
    holders_.back().async_wait(boost::asio::posix::stream_descriptor::wait_read,
                               [weak = weak_from_this()](const boost::system::error_code& error) {
                                 auto self = weak.lock();
                                 if (!error && self) self->holder_ended();
                               });
  }

  void holder_ended() {
    next_pause_ = std::min(kFirstPause, interval_);  // what it held takes a moment to come free
    pause_.cancel();
    look();
  }

  boost::asio::io_context& loop_;
  Duration interval_;
  Look look_;
  boost::asio::steady_timer pause_;
  Duration next_pause_;
  std::list<boost::asio::posix::stream_descriptor> holders_;
  bool looking_ = false;
};

DeviceWatch::DeviceWatch(boost::asio::io_context& loop, Duration interval, Look look)
    : impl_(std::make_shared<Impl>(loop, interval, std::move(look))) {
  impl_->start();
}

DeviceWatch::~DeviceWatch() = default;

std::unique_ptr<DeviceWatch> watch_gpu(boost::asio::io_context& loop, GpuChecker& checker,
                                       const LockDirectory& locks, const Gpu& gpu,
                                       std::function<void(const GpuVerdict&)> looked, Duration interval) {
  auto look = [&checker, &locks, gpu,
               looked = std::move(looked)](std::function<void(DeviceWatch::Seen)> seen) {
    if (locks.is_locked(gpu_lock_name(gpu))) return seen(DeviceWatch::Seen{});
    checker.check(gpu, CheckPurpose::before_lease, {},
                  [looked, seen = std::move(seen)](const GpuVerdict& verdict) {
                    DeviceWatch::Seen what;
                    what.free = verdict.kind == GpuVerdict::Kind::free;
                    for (const auto& use : verdict.outside) what.holders.push_back(use.pid);
                    what.tell = [&] { looked(verdict); };
                    seen(std::move(what));
                  });
  };
  return std::make_unique<DeviceWatch>(loop, interval, std::move(look));
}

std::unique_ptr<DeviceWatch> watch_port(boost::asio::io_context& loop, const LockDirectory& locks,
                                        std::uint16_t port, std::function<void(const PortVerdict&)> looked,
                                        Duration interval) {
  auto look = [&locks, port, looked = std::move(looked)](const std::function<void(DeviceWatch::Seen)>& seen) {
    if (locks.is_locked(port_lock_name(port))) return seen(DeviceWatch::Seen{});
    const PortVerdict verdict = check_port_free(port);
    DeviceWatch::Seen what;
    what.free = verdict.kind == PortVerdict::Kind::free;
    for (const PortHolder& holder : verdict.holders) what.holders.push_back(holder.pid);
    what.tell = [&] { looked(verdict); };
    seen(std::move(what));
  };
  return std::make_unique<DeviceWatch>(loop, interval, std::move(look));
}

}  // namespace ebb::devices
