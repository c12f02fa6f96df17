#include "ebb/flow/runtime/parker.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace ebb::flow {
namespace {

std::atomic<bool> spinning_allowed{false};

bool register_membarrier() noexcept {
  const long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  return known > 0 && (known & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0 &&
         syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

}  // namespace

const bool kHasMembarrier = register_membarrier();

void heavy_fence() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (kHasMembarrier) syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void allow_spinning(bool allowed) noexcept { spinning_allowed.store(allowed, std::memory_order_relaxed); }

int Parker::spin_rounds() noexcept { return spinning_allowed.load(std::memory_order_relaxed) ? 200 : 0; }

void Parker::pause() noexcept {
  // Some hundred nanoseconds, so that the line that the other side writes is not taken from it all the time.
  for (int i = 0; i < 8; ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
  }
}

void Parker::sleep(std::optional<BootTime> deadline) noexcept {
  timespec limit{};
  if (deadline) {
    const auto left = std::max(*deadline - BootClock::now(), Duration::zero());
    limit.tv_sec = left.count() / 1'000'000;
    limit.tv_nsec = left.count() % 1'000'000 * 1'000;
  }
  syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kAsleep, deadline ? &limit : nullptr, nullptr, 0);
}

void Parker::wake() noexcept {
  if (state_.exchange(kAwake, std::memory_order_seq_cst) == kAsleep) {
    syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
}

}  // namespace ebb::flow
