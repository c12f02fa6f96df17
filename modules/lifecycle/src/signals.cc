#include "ebb/lifecycle/signals.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <ctime>
#include <utility>

namespace ebb::lifecycle {

Result<SignalSource> SignalSource::make(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    if (sigaddset(&set, signal) != 0)
      return Error{Errc::invalid, "signal " + std::to_string(signal) + " does not exist", "", ""};
  }
  // The descriptor first: a failure then leaves the mask unchanged.
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return errno_error(errno, "cannot make a signalfd");
  sigset_t before;
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, &before); error != 0)
    return errno_error(error, "cannot block signals");
  return SignalSource(std::move(fd), set, before);
}

SignalSource::SignalSource(UniqueFd fd, const sigset_t& set, const sigset_t& before)
    : fd_(std::move(fd)), set_(set), before_(before) {}
SignalSource::SignalSource(SignalSource&& other) noexcept = default;
SignalSource& SignalSource::operator=(SignalSource&& other) noexcept {
  if (this == &other) return *this;
  close();
  fd_ = std::move(other.fd_);
  set_ = other.set_;
  before_ = other.before_;
  return *this;
}
SignalSource::~SignalSource() { close(); }

void SignalSource::close() noexcept {
  if (!fd_) return;
  // What is pending would be delivered by the restored mask and end the program on its way out.
  const timespec at_once{};
  while (::sigtimedwait(&set_, nullptr, &at_once) > 0 || errno == EINTR) {
  }
  fd_.reset();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<SignalSource::Signal> SignalSource::read() {
  signalfd_siginfo info;
  ssize_t size = 0;
  do {
    size = ::read(fd_.get(), &info, sizeof info);
  } while (size < 0 && errno == EINTR);
  if (size != static_cast<ssize_t>(sizeof info)) return std::nullopt;
  Signal signal;
  signal.number = static_cast<int>(info.ssi_signo);
  if (info.ssi_code == SI_USER || info.ssi_code == SI_QUEUE || info.ssi_code == SI_TKILL)
    signal.sender = static_cast<pid_t>(info.ssi_pid);
  return signal;
}

void die_of(int signal) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  if (::sigaction(signal, &action, nullptr) == 0) {
    ::raise(signal);  // pending, where it is blocked
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
  ::_exit(128 + signal);
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
}

}  // namespace ebb::lifecycle
