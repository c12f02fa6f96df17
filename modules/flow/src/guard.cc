#include "ebb/flow/runtime/guard.h"

namespace ebb::flow {

void give_up(Slot& slot, Loop& loop) noexcept {
  Counts::add(slot.counts.failed, 1);
  loop.stopped = true;
  loop.worker.run().fail(slot.of->name, std::current_exception());
}

bool back_off(const RetryPolicy& policy, int tries, const Slot& slot, Loop& loop) {
  constexpr Duration kLongest = std::chrono::minutes(1);
  Duration wait = policy.backoff;
  for (int doubled = 1; doubled < tries && wait < kLongest; ++doubled) wait *= 2;
  return loop.worker.wait_until(BootClock::now() + std::min(wait, kLongest), Doing::backoff, &slot.of->name,
                                [] { return false; });
}

}  // namespace ebb::flow
