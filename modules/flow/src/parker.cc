#include "ebb/flow/runtime/parker.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace ebb::flow {
namespace {

std::atomic<bool> few_threads{false};
// Until then: another program has run on a core that was yielded.
std::atomic<BootTime> crowded_until{BootTime{}};
// A yield costs a thread a slice of the scheduler's, some milliseconds, where another one stands in line, and
// else less than a microsecond.
constexpr Duration kOthersRan = std::chrono::milliseconds(1);
constexpr Duration kCrowded = std::chrono::milliseconds(20);
// Within the 100 µs for which a record may wait for others; the kernel adds up to 50.
constexpr Duration kNap = std::chrono::microseconds(40);

bool may_spin() noexcept {
  return few_threads.load(std::memory_order_relaxed) &&
         BootClock::now() >= crowded_until.load(std::memory_order_relaxed);
}

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

void CountedThread::change(int by) noexcept {
  static std::atomic<int> threads{0};
  static const int cores = [] {
    cpu_set_t set;
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }();
  few_threads.store(threads.fetch_add(by) + by <= cores, std::memory_order_relaxed);
}

int Parker::spin_rounds() noexcept { return may_spin() ? 50 : 0; }

bool Parker::pause() noexcept {
  // The one that is waited for may stand in line behind this thread.
  const BootTime begun = BootClock::now();
  ::sched_yield();
  const BootTime back = BootClock::now();
  if (back - begun > kOthersRan) {
    crowded_until.store(back + kCrowded, std::memory_order_relaxed);
    return false;
  }
  // With this about a microsecond, so that the line that the other side writes is not taken from it all the
  // time.
  for (int i = 0; i < 13; ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
  }
  return true;
}

void Parker::let_gather() noexcept {
  if (may_spin()) (void)pause();
}

void Parker::nap() noexcept {
  if (may_spin()) return;
  state_.store(kNapping, std::memory_order_relaxed);
  sleep_for(kNapping, kNap);
  state_.store(kAwake, std::memory_order_relaxed);
}

void Parker::sleep(std::optional<BootTime> deadline) noexcept {
  sleep_for(kAsleep, deadline ? std::optional(*deadline - BootClock::now()) : std::nullopt);
}

// Not where its state is not `as` any more.
void Parker::sleep_for(std::uint32_t as, std::optional<Duration> most) noexcept {
  timespec limit{};
  if (most) {
    const auto left = std::max(*most, Duration::zero());
    limit.tv_sec = left.count() / 1'000'000;
    limit.tv_nsec = left.count() % 1'000'000 * 1'000;
  }
  syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, as, most ? &limit : nullptr, nullptr, 0);
}

void Parker::wake() noexcept {
  if (state_.exchange(kAwake, std::memory_order_seq_cst) != kAwake) {
    syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
}

}  // namespace ebb::flow
