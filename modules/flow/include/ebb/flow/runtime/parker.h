#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "ebb/base/clock.h"

namespace ebb::flow {

/// Orders what this thread has stored before what it loads next, as seen by a thread that passes through
/// heavy_fence(). It costs nothing where the kernel has membarrier(2), else a full fence: the side that runs
/// for every record takes this one, the side that is about to sleep takes the other.
/// (The idea is that of asymmetric fences in folly and liburcu.)
extern const bool kHasMembarrier;
inline void light_fence() noexcept {
  if (kHasMembarrier) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}
void heavy_fence() noexcept;

/// A thread that works for a pipeline, or waits for one that does. As long as there are not more of them than
/// cores, in the whole process, they spin for a moment before they sleep; else they would keep the thread
/// that they wait for from running. Nor do they where other programs want the cores: whoever yields one to
/// them gets it back when each has had its turn.
class CountedThread {
 public:
  CountedThread() noexcept { change(1); }
  ~CountedThread() { change(-1); }
  CountedThread(const CountedThread&) = delete;
  CountedThread& operator=(const CountedThread&) = delete;

 private:
  static void change(int by) noexcept;
};

/// What one thread sleeps on, whatever it waits for: its owner waits until a condition holds, and everybody
/// who changes what the condition looks at wakes it afterwards.
///
/// A waker must make its change, pass through light_fence(), and then wake() if sleeping(); the condition
/// must read that change. Nothing is lost then, and a waker whose thread is awake pays for one load.
class Parker {
 public:
  /// Returns when `ready()` holds. Only the owner.
  template <typename Ready>
  void wait(Ready&& ready) {
    if (ready() || spin(ready)) return;
    while (true) {
      prepare();
      if (ready()) break;
      sleep(std::nullopt);
      if (ready()) break;
    }
    state_.store(kAwake, std::memory_order_relaxed);
  }
  /// The same until `deadline`; whether the condition held.
  template <typename Ready>
  [[nodiscard]] bool wait_until(BootTime deadline, Ready&& ready) {
    bool held = ready() || spin(ready);
    while (!held && BootClock::now() < deadline) {
      prepare();
      held = ready();
      if (!held) sleep(deadline);
      held = ready();
    }
    state_.store(kAwake, std::memory_order_relaxed);
    return held;
  }

  /// A microsecond, where spinning is allowed.
  static void let_gather() noexcept;
  /// Where it is not: some ten microseconds in which only wake() ends the sleep, not that something has come.
  /// Only the owner.
  void nap() noexcept;

  [[nodiscard]] bool sleeping() const noexcept { return state_.load(std::memory_order_relaxed) == kAsleep; }
  /// Any thread.
  void wake() noexcept;

 private:
  static constexpr std::uint32_t kAwake = 0, kAsleep = 1, kNapping = 2;

  template <typename Ready>
  static bool spin(Ready&& ready) {
    for (int rounds = spin_rounds(); rounds > 0; --rounds) {
      const bool alone = pause();
      if (ready()) return true;
      if (!alone) break;
    }
    return false;
  }
  static int spin_rounds() noexcept;
  // False where another program ran meanwhile.
  static bool pause() noexcept;
  void prepare() noexcept {
    state_.store(kAsleep, std::memory_order_relaxed);
    heavy_fence();
  }
  void sleep(std::optional<BootTime> deadline) noexcept;
  void sleep_for(std::uint32_t as, std::optional<Duration> most) noexcept;

  std::atomic<std::uint32_t> state_{kAwake};
};

}  // namespace ebb::flow
