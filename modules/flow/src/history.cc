#include "ebb/flow/runtime/history.h"

#include <algorithm>

namespace ebb::flow {
namespace {

constexpr Duration kFine = std::chrono::minutes(5), kMinute = std::chrono::minutes(1),
                   kLongest = std::chrono::hours(1);

}  // namespace

void History::note(BootTime now, std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  steps_.push_back({now, count});
  while (now - steps_.front().at > kFine + kStep) {
    if (minutes_.empty() || steps_.front().at - minutes_.back().at >= kMinute)
      minutes_.push_back(steps_.front());
    steps_.erase(steps_.begin());
  }
  while (!minutes_.empty() && now - minutes_.front().at > kLongest + kMinute)
    minutes_.erase(minutes_.begin());
}

double History::rate(BootTime now, std::uint64_t count, Duration over) const {
  const std::lock_guard lock(mutex_);
  // The first point of that time: what was counted before it was counted before that time, too, unless it is
  // the first of all.
  const auto in_time = [&](const Point& point) { return now - point.at <= over; };
  auto first = std::find_if(minutes_.begin(), minutes_.end(), in_time);
  bool found = first != minutes_.end();
  if (!found) {
    first = std::find_if(steps_.begin(), steps_.end(), in_time);
    found = first != steps_.end();
  }
  if (!found) return 0;  // nothing was done
  const bool whole = !minutes_.empty() ? minutes_.front().at != first->at : steps_.front().at != first->at;
  const Duration time = whole ? over : now - first->at;
  if (time <= Duration::zero()) return 0;
  return static_cast<double>(count - std::min(count, first->count)) /
         std::chrono::duration<double>(time).count();
}

}  // namespace ebb::flow
