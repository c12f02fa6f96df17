#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>
#include <vector>

namespace ebb::testing {

/// Other programs, three for each core, that want all of its time. Before there are threads.
class Crowd {
 public:
  Crowd() {
    for (unsigned i = 0; i < 3 * std::thread::hardware_concurrency(); ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::alarm(300);
        while (true) std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
      programs_.push_back(child);
    }
  }
  ~Crowd() {
    for (const pid_t program : programs_) ::kill(program, SIGKILL);
    for (const pid_t program : programs_) ::waitpid(program, nullptr, 0);
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

 private:
  std::vector<pid_t> programs_;
};

}  // namespace ebb::testing
