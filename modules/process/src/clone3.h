#pragma once

#include <linux/sched.h>
#include <sched.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace ebb::process {

/// What clone3(2) shall do; the child gets SIGCHLD as its exit signal.
struct CloneRequest {
  std::uint64_t flags = 0;  ///< namespaces, CLONE_VM | CLONE_VFORK
  int cgroup = -1;          ///< folder of a v2 cgroup in which the child begins, or -1
  int* pidfd = nullptr;     ///< where to put the child's pidfd (O_CLOEXEC)
};

/// Runs `body(argument)` in a child, whose exit status it returns. Returns the child's pid, or -errno. With
/// CLONE_VM the child runs on `stack`, in this process's memory: it must allocate nothing and take no lock,
/// and needs CLONE_VFORK, by which the caller stands still until it executes a program or ends. Signals
/// should be blocked.
pid_t clone_child(const CloneRequest& request, char* stack, std::size_t stack_size, int (*body)(void*),
                  void* argument) noexcept;

}  // namespace ebb::process
