#include "clone3.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace ebb::process {
namespace {

// A child that shares memory cannot return through the caller's frames, and glibc exports clone3 only from
// within; so the child's first steps, to its own stack, are written here.
long clone3_on_stack(clone_args* args, int (*body)(void*), void* argument) noexcept {
#if defined(__x86_64__)
  long result = SYS_clone3;
  register int (*r8)(void*) asm("r8") = body;
  register void* r9 asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "movq %%r9, %%rdi\n\t"
      "callq *%%r8\n\t"
      "movl %%eax, %%edi\n\t"
      "movl %[exit], %%eax\n\t"
      "syscall\n\t"
      "1:"
      : "+a"(result)
      : "D"(args), "S"(sizeof(clone_args)), "r"(r8), "r"(r9), [exit] "i"(SYS_exit_group)
      : "rcx", "r11", "memory", "cc");
  return result;
#elif defined(__aarch64__)
  register long x0 asm("x0") = reinterpret_cast<long>(args);
  register long x1 asm("x1") = sizeof(clone_args);
  register long x8 asm("x8") = SYS_clone3;
  register int (*x10)(void*) asm("x10") = body;
  register void* x11 asm("x11") = argument;
  asm volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, #0\n\t"
      "mov x0, x11\n\t"
      "blr x10\n\t"
      "mov x8, %[exit]\n\t"
      "svc #0\n\t"
      "1:"
      : "+r"(x0)
      : "r"(x1), "r"(x8), "r"(x10), "r"(x11), [exit] "i"(SYS_exit_group)
      : "memory", "cc", "x30");
  return x0;
#else
#error "clone3 on its own stack is written for x86-64 and AArch64 only"
#endif
}

}  // namespace

pid_t clone_child(const CloneRequest& request, char* stack, std::size_t stack_size, int (*body)(void*),
                  void* argument) noexcept {
  clone_args args{};
  args.flags = static_cast<__u64>(request.flags);
  // With CLONE_PARENT the kernel takes the caller's own, and wants none here.
  args.exit_signal = (request.flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD;
  if (request.cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<__u64>(request.cgroup);
  }
  if (request.pidfd != nullptr) {
    args.flags |= CLONE_PIDFD;
    args.pidfd = reinterpret_cast<std::uintptr_t>(request.pidfd);
  }
  if ((request.flags & CLONE_VM) != 0) {
    const std::uintptr_t base = (reinterpret_cast<std::uintptr_t>(stack) + 15) & ~std::uintptr_t{15};
    args.stack = base;
    args.stack_size = (stack_size - 16) & ~std::size_t{15};
    return static_cast<pid_t>(clone3_on_stack(&args, body, argument));
  }
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) ::_exit(body(argument));
  return pid < 0 ? -errno : static_cast<pid_t>(pid);
}

}  // namespace ebb::process
