#include "keeper_session.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// How long a keeper may take to answer before the daemon does its work instead.
constexpr Duration kAnswerTimeout = 5s;

}  // namespace

KeeperSession::KeeperSession(asio::io_context& io, Calls calls)
    : io_(io), calls_(std::move(calls)), answer_limit_(io) {}

void KeeperSession::begin(process::StartedKeeper keeper) {
  exit_.emplace(io_, keeper.pidfd.release());
  exit_->async_wait(asio::posix::stream_descriptor::wait_read,
                    [this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
                      if (failure || alive.expired()) return;
                      siginfo_t info{};
                      ::waitid(P_PIDFD, static_cast<id_t>(exit_->native_handle()), &info, WEXITED);
                      exit_.reset();
                      calls_.gone();
                    });
  take(std::move(keeper.link));
}

void KeeperSession::begin(process::KeeperLink link) {
  (void)link.send(process::FetchLocks{});
  take(std::move(link));
  expect_answer();
}

void KeeperSession::take(process::KeeperLink link) {
  link_ = std::move(link);
  readable_.emplace(io_, link_->fd());
  wait();
}

void KeeperSession::wait() {
  readable_->async_wait(asio::posix::stream_descriptor::wait_read,
                        [this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
                          if (!failure && !alive.expired() && link_) receive();
                        });
}

void KeeperSession::receive() {
  const std::weak_ptr alive = alive_;
  auto received = link_->receive();
  answer_limit_.cancel();
  if (received) {
    if (!received->locks.empty()) calls_.handed_locks(std::move(received->locks));
    for (process::KeeperEvent& event : received->events) {
      if (alive.expired()) return;
      calls_.said(std::move(event));
    }
  }
  if (alive.expired() || !link_) return;
  if (received && !received->closed) return wait();
  readable_->release();
  readable_.reset();
  link_.reset();
  // A keeper that is our child is reaped first; its exit is told then.
  if (!exit_) calls_.gone();
}

bool KeeperSession::stop(const process::Stop& stop) {
  if (!link_->send(stop) || !link_->send(process::Hello{})) return false;
  expect_answer();
  return true;
}

void KeeperSession::acknowledge() {
  if (link_) (void)link_->send(process::Ack{});
}

void KeeperSession::expect_answer() {
  answer_limit_.expires_after(kAnswerTimeout);
  answer_limit_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
    if (!failure && !alive.expired()) calls_.silent();
  });
}

void KeeperSession::kill() {
  if (exit_) (void)::syscall(SYS_pidfd_send_signal, exit_->native_handle(), SIGKILL, nullptr, 0);
}

void KeeperSession::close() {
  alive_.reset();
  answer_limit_.cancel();
  // The descriptor is the link's; Asio must let go of it before the link closes it.
  if (readable_) readable_->release();
  readable_.reset();
  link_.reset();
  exit_.reset();
}

}  // namespace ebb::daemon
