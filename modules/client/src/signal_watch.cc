#include "signal_watch.h"

#include <pthread.h>
#include <signal.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <utility>

namespace ebb::client {

SignalWatch::~SignalWatch() {
  if (readable_) readable_->release();
}

Result<void> SignalWatch::start() {
  // A blocked signal is queued even where it is ignored, so what to leave alone is remembered here.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP}) {
    struct sigaction action{};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) ignored_.insert(signal);
  }
  // SIGPIPE is blocked and thrown away: a write that fails says it better.
  auto source = lifecycle::SignalSource::make({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGPIPE});
  if (!source) return source.error();
  source_.emplace(std::move(*source));
  readable_.emplace(context_.io, source_->fd());
  boost::asio::co_spawn(context_.io, watch(), boost::asio::detached);
  return {};
}

Task<void> SignalWatch::watch() {
  while (true) {
    boost::system::error_code error;
    co_await readable_->async_wait(boost::asio::posix::descriptor_base::wait_read,
                                   boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error) co_return;
    while (const auto signal = source_->read()) {
      if (signal->number == SIGPIPE || ignored_.contains(signal->number)) continue;
      if (signal->number == SIGTSTP && std::exchange(stopping_, false)) {
        stop();
        context_.changed.ring();
      } else if (signal->number == SIGTSTP) {
        stopping_ = true;
        if (!in_turn_) boost::asio::co_spawn(context_.io, stop_and_continue(), boost::asio::detached);
      } else {
        take(signal->number);
      }
    }
  }
}

void SignalWatch::take(int signal) {
  const BootTime now = BootClock::now();
  if (received_ == 0 || pretended_) {
    pretended_ = false;
    received_ = signal;
    received_at_ = now;
    context_.changed.ring();
    return;
  }
  // A terminal that goes sends SIGHUP more than once, and a service manager SIGHUP after SIGTERM: nobody
  // asked for haste.
  if (signal == SIGHUP) return;
  // timeout(1) sends its signal to the process and again to its group; no person is that fast.
  constexpr Duration kOneAndTheSame = std::chrono::milliseconds(100);
  if (now - received_at_ < kOneAndTheSame) return;
  // Keepers end the side processes when they see us gone, the daemon goes on with the job.
  lifecycle::die_of(signal);
}

void SignalWatch::pretend(int signal) {
  if (received_ != 0) return;
  received_ = signal;
  pretended_ = true;
  context_.changed.ring();
}

// One after the other, so that the last that is told is what is true.
Task<void> SignalWatch::stop_and_continue() {
  in_turn_ = true;
  while (stopping_) {
    const int before = received_;
    if (on_stop) co_await on_stop();
    if (std::exchange(stopping_, false) && received_ == before) stop();
    if (on_continue) co_await on_continue();
  }
  in_turn_ = false;
}

// By SIGTSTP itself, so that the shell sees what it expects; returns at SIGCONT.
void SignalWatch::stop() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  ::raise(SIGTSTP);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
}

}  // namespace ebb::client
