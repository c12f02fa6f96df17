#include "nvml_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <csignal>

#include "ebb/base/unique_fd.h"
#include "ebb/devices/nvml_protocol.h"
#include "errors.h"

namespace ebb::devices {
namespace {

constexpr int kReapMs = 200;  // how long a destructor waits for a killed process

// In its own session, so that a terminal's Ctrl+C, which ends the daemon in order, does not reach it; with
// default signals, whatever the daemon blocks or ignores.
Result<pid_t> spawn(const std::filesystem::path& program, int socket) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, socket, STDOUT_FILENO);
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(
      &attributes, static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  std::string name = program.string();
  char* const arguments[] = {name.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, name.c_str(), &actions, &attributes, arguments, ::environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return errno_error(error, "cannot start " + name, Errc::unavailable);
  return pid;
}

}  // namespace

Result<std::shared_ptr<NvmlHelper>> NvmlHelper::start(boost::asio::io_context& loop,
                                                      const std::filesystem::path& program) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return errno_error(errno, "cannot make a socket for ebb-nvml");
  }
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const auto pid = spawn(program, theirs.get());
  if (!pid) return pid.error();
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0));
  if (pidfd < 0) {
    // Not reaped yet, so the pid is still this process.
    const Error error = errno_error(errno, "cannot watch ebb-nvml");
    ::kill(*pid, SIGKILL);
    ::waitpid(*pid, nullptr, 0);
    return error;
  }
  return std::shared_ptr<NvmlHelper>(new NvmlHelper(loop, *pid, pidfd, ours.release()));
}

NvmlHelper::NvmlHelper(boost::asio::io_context& loop, pid_t pid, int pidfd, int socket)
    : pid_(pid), pidfd_(loop, pidfd), socket_(loop, boost::asio::local::stream_protocol(), socket) {}

NvmlHelper::~NvmlHelper() {
  if (reaped_) return;
  kill();
  pollfd wait{.fd = pidfd_.native_handle(), .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, kReapMs) == 1) reap();
}

void NvmlHelper::kill() noexcept {
  if (!reaped_) ::syscall(SYS_pidfd_send_signal, pidfd_.native_handle(), SIGKILL, nullptr, 0);
}

bool NvmlHelper::reap() noexcept {
  siginfo_t info{};
  // ECHILD: the daemon, which adopts orphans, was faster.
  const int status = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.native_handle()), &info, WEXITED | WNOHANG);
  reaped_ = reaped_ || (status == 0 && info.si_pid != 0) || (status != 0 && errno == ECHILD);
  return reaped_;
}

void NvmlHelper::ask(std::string request, std::function<void(Result<std::string>)> done) {
  request_ = std::move(request);
  answer_.clear();
  done_ = std::move(done);
  auto self = shared_from_this();
  boost::asio::async_write(socket_, boost::asio::buffer(request_),
                           [self](const boost::system::error_code& error, std::size_t) {
                             if (error) {
                               self->finish(fail(Errc::unavailable, "ebb-nvml has ended"));
                             } else {
                               self->read_on();
                             }
                           });
}

void NvmlHelper::read_on() {
  auto self = shared_from_this();
  socket_.async_read_some(
      boost::asio::buffer(buffer_), [self](const boost::system::error_code& error, std::size_t got) {
        if (error) {
          self->finish(fail(Errc::unavailable, "ebb-nvml ended in the middle of a call of the GPU driver"));
          return;
        }
        self->answer_.append(self->buffer_, got);
        if (self->answer_.size() > nvml::kMaxAnswer) {
          self->finish(fail(Errc::corrupt, "ebb-nvml answers without end"));
        } else if (nvml::is_complete(self->answer_)) {
          self->finish(std::move(self->answer_));
        } else {
          self->read_on();
        }
      });
}

void NvmlHelper::finish(Result<std::string> answer) {
  if (auto done = std::exchange(done_, nullptr)) done(std::move(answer));
}

void NvmlHelper::retire(std::function<void()> gone) {
  kill();
  boost::system::error_code ignored;
  socket_.close(ignored);
  finish(fail(Errc::unavailable, "ebb-nvml was ended"));
  wait_until_gone(std::move(gone));
}

void NvmlHelper::wait_until_gone(std::function<void()> gone) {
  pidfd_.async_wait(
      boost::asio::posix::stream_descriptor::wait_read,
      [self = shared_from_this(), gone = std::move(gone)](const boost::system::error_code& error) mutable {
        if (error) return;
        // What Asio reports may have been meant for a descriptor that was closed.
        if (!self->reap()) return self->wait_until_gone(std::move(gone));
        if (gone) gone();
      });
}

}  // namespace ebb::devices
