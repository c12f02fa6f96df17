#pragma once

#include <signal.h>

#include <initializer_list>
#include <optional>
#include <string>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb::lifecycle {

/// Turns signals into something readable, for programs with an event loop: blocks them in the calling thread
/// (make it before any other thread, which then inherits the mask) and reads them from a signalfd.
///
/// Children inherit a blocked mask: a spawner must clear it. Destroyed, it throws away what is pending and
/// restores the mask as it was.
class SignalSource {
 public:
  struct Signal {
    int number = 0;
    pid_t sender = 0;  ///< 0 when the kernel sent it (Ctrl+C at a terminal)
  };

  [[nodiscard]] static Result<SignalSource> make(std::initializer_list<int> signals);
  SignalSource(SignalSource&& other) noexcept;
  SignalSource& operator=(SignalSource&& other) noexcept;
  ~SignalSource();

  /// Readable when a signal waits; non-blocking, closed on exec.
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// The next signal; empty when none waits.
  [[nodiscard]] std::optional<Signal> read();

 private:
  SignalSource(UniqueFd fd, const sigset_t& set, const sigset_t& before);
  void close() noexcept;

  UniqueFd fd_;
  sigset_t set_{};
  sigset_t before_{};
};

/// Ends the process by this signal, so that a shell sees how it ended (for main functions, after clean-up).
/// Where the signal cannot end it, exits with 128 + signal.
[[noreturn]] void die_of(int signal);
/// "SIGINT"; "signal 77" where it has no name.
[[nodiscard]] std::string signal_name(int signal);

}  // namespace ebb::lifecycle
