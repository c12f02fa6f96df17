#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <memory>

#include "ebb/daemon/daemon.h"
#include "wakeup.h"

namespace ebb::server {

/// Notifies a Wakeup at every change of a job's state, while it lives. One thread.
class StateWatch {
 public:
  StateWatch(boost::asio::io_context& io, daemon::Daemon& daemon, const daemon::Caller& caller, JobId id,
             model::JobState seen, Wakeup& wakeup)
      : shared_(std::make_shared<Shared>()) {
    shared_->wakeup = &wakeup;
    boost::asio::co_spawn(io, follow(shared_, daemon, caller, id, seen),
                          boost::asio::bind_cancellation_slot(shared_->stop.slot(), boost::asio::detached));
  }
  StateWatch(const StateWatch&) = delete;
  StateWatch& operator=(const StateWatch&) = delete;
  ~StateWatch() {
    shared_->wakeup = nullptr;
    shared_->stop.emit(boost::asio::cancellation_type::terminal);
  }

 private:
  struct Shared {
    Wakeup* wakeup = nullptr;  ///< null: nobody waits any longer
    boost::asio::cancellation_signal stop;
  };
  static Task<void> follow(std::shared_ptr<Shared> shared, daemon::Daemon& daemon, daemon::Caller caller,
                           JobId id, model::JobState seen) {
    constexpr Duration kLong = std::chrono::hours(1);
    while (shared->wakeup != nullptr && !model::is_terminal(seen)) {
      auto job = co_await daemon.changed(caller, id, seen, kLong);
      if (shared->wakeup == nullptr) co_return;
      if (!job) {
        shared->wakeup->notify();
        co_return;
      }
      if (job->state != seen) {
        seen = job->state;
        shared->wakeup->notify();
      }
    }
  }

  std::shared_ptr<Shared> shared_;
};

}  // namespace ebb::server
