#include "keeper_session.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;

// Whether a timer's call is of an earlier time than it is set to now: it had been due, and could not be
// cancelled any more.
bool stale(const asio::steady_timer& timer) { return timer.expiry() > std::chrono::steady_clock::now(); }

}  // namespace

KeeperSession::KeeperSession(asio::io_context& io, Calls calls, Duration answer_within)
    : io_(io), calls_(std::move(calls)), answer_within_(answer_within), answer_limit_(io), end_limit_(io) {}

void KeeperSession::begin(process::StartedKeeper keeper) {
  exit_.emplace(io_, std::move(keeper.pidfd), [this] {
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(exit_->pidfd()), &info, WEXITED | WNOHANG);
    exit_.reset();
    reaped_ = true;
    // What it said last is read first. The connection's end is not waited for: a copy of the other side may
    // be with a child that the keeper left halfway.
    if (link_) return receive(true);
    expect_nothing();
    calls_.lost(Loss::exited);
  });
  take(std::move(keeper.link));
}

void KeeperSession::begin(process::KeeperLink link) {
  (void)link.send(process::FetchLocks{});
  take(std::move(link));
  expect_answer(answer_within_);
}

void KeeperSession::take(process::KeeperLink link) {
  link_ = std::move(link);
  readable_.emplace(io_, link_->fd());
  wait();
}

void KeeperSession::wait() {
  readable_->async_wait(asio::posix::stream_descriptor::wait_read,
                        [this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
                          if (!failure && !alive.expired() && link_) receive(false);
                        });
}

void KeeperSession::receive(bool last) {
  const std::weak_ptr alive = alive_;
  auto received = link_->receive();
  if (!received && received.error().code == Errc::conflict && !foreign_) {
    foreign_ = true;
    expect_nothing();
    calls_.foreign(received.error().message);
    if (alive.expired() || !link_) return;
  }
  // What a foreign one says is thrown away, a packet each time.
  while (foreign_ && !received &&
         (received.error().code == Errc::conflict || received.error().code == Errc::corrupt)) {
    received = link_->receive();
  }
  if (foreign_ && received) received->events.clear();
  if (received) {
    if (!received->locks.empty() && !foreign_) calls_.handed_locks(std::move(received->locks));
    for (process::KeeperEvent& event : received->events) {
      if (alive.expired()) return;
      // Only this answers a Hello: other news may have been on its way before the keeper was stopped.
      if (std::holds_alternative<process::Welcome>(event) && unanswered_ > 0) {
        --unanswered_;
        if (unanswered_ == 0) answer_limit_.cancel();
      }
      calls_.said(std::move(event));
    }
  }
  if (alive.expired() || !link_) return;
  if (received && !received->closed && !last) return wait();
  drop_link();
}

void KeeperSession::drop_link() {
  readable_->release();
  readable_.reset();
  link_.reset();
  if (exit_) {
    // It is dying, and is reaped first; or it lives on and has dropped us.
    unanswered_ = 0;
    return expect_answer(answer_within_);
  }
  expect_nothing();
  calls_.lost(Loss::exited);
}

void KeeperSession::stop(const process::Stop& stop, Duration kill_within) {
  if (!link_) return;
  if (foreign_) return expect_answer(Duration{});
  auto sent = link_->send(stop);
  if (sent) sent = link_->send(process::Hello{});
  // Where the other side is closed, the end of the connection is on its way to us. A full socket is one that
  // nobody reads.
  if (!sent && sent.error().code == Errc::unavailable) return;
  expect_answer(sent ? answer_within_ : Duration{});
  expect_end(stop.grace + kill_within + answer_within_);
}

void KeeperSession::acknowledge() {
  if (!link_ || foreign_) return;
  send(process::Ack{});
  expect_end(answer_within_);
}

void KeeperSession::send(const process::KeeperCommand& command) {
  if (link_ && !foreign_) (void)link_->send(command);
}

void KeeperSession::expect_answer(Duration within) {
  // An earlier request's time goes on: it is not answered either.
  if (unanswered_++ > 0 && within > Duration{}) return;
  answer_limit_.expires_after(within);
  answer_limit_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
    if (failure || alive.expired() || unanswered_ == 0 || stale(answer_limit_)) return;
    const Loss loss = !link_ ? Loss::exited : foreign_ ? Loss::foreign : Loss::unanswered;
    expect_nothing();
    calls_.lost(loss);
  });
}

void KeeperSession::expect_end(Duration within) {
  const BootTime due = system_clock().boot() + within;
  if (end_due_ && *end_due_ <= due) return;  // a later stop only hastens it
  end_due_ = due;
  end_limit_.expires_after(within);
  end_limit_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
    if (failure || alive.expired() || !end_due_ || stale(end_limit_)) return;
    expect_nothing();
    calls_.lost(Loss::overdue);
  });
}

void KeeperSession::expect_nothing() {
  unanswered_ = 0;
  answer_limit_.cancel();
  end_due_.reset();
  end_limit_.cancel();
}

bool KeeperSession::kill() {
  return exit_ && ::syscall(SYS_pidfd_send_signal, exit_->pidfd(), SIGKILL, nullptr, 0) == 0;
}

void KeeperSession::close() {
  alive_.reset();
  expect_nothing();
  // The descriptor is the link's; Asio must let go of it before the link closes it.
  if (readable_) readable_->release();
  readable_.reset();
  link_.reset();
  exit_.reset();
}

}  // namespace ebb::daemon
