#include "ebb/flow/runtime/guard.h"

#include <fmt/format.h>

#include "ebb/base/units.h"
#include "ebb/flow/runtime/made.h"
#include "ebb/lifecycle/blocking.h"

namespace ebb::flow {

void give_up(Slot& slot, Loop& loop) noexcept {
  Counts::add(slot.counts.failed, 1);
  loop.stopped = true;
  loop.worker.run().fail(slot.of->name, std::current_exception());
}

void fail_at_limit(Here here, Loop& loop, const std::string& what, std::uint64_t bytes) {
  loop.stopped = true;
  loop.worker.run().fail(here.of->name, made_error<std::length_error>(
                                            fmt::format("ebb: '{}' {}, {}", here.of->name, what,
                                                        format_size(static_cast<std::int64_t>(bytes)))));
}

bool back_off(const RetryPolicy& policy, int tries, const Slot& slot, Loop& loop) {
  constexpr Duration kLongest = std::chrono::minutes(1);
  Duration wait = policy.backoff;
  for (int doubled = 1; doubled < tries && wait < kLongest; ++doubled) wait *= 2;
  return loop.worker.wait_until(BootClock::now() + std::min(wait, kLongest), Doing::backoff, &slot.of->name,
                                [] { return false; });
}

std::string text_of_current() { return lifecycle::text_of(std::current_exception()); }

}  // namespace ebb::flow
