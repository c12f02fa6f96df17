#include "compat_owners.h"

namespace ebb::server {
namespace {
constexpr Duration kFireAndForget = std::chrono::seconds(2);
}

bool CompatOwners::ended(const Entry& entry, JobId id) const {
  const auto job = daemon_.job(entry.caller, id);
  return !job || model::is_terminal(job->state);
}

void CompatOwners::attach(const daemon::Caller& caller, JobId id, std::uint64_t connection) {
  (void)owns(connection);  // forgets those that have ended
  auto hold = daemon_.hold(caller, id);
  if (!hold) return;  // it has ended already
  jobs_[id] = Entry{.caller = caller, .connection = connection, .hold = std::move(*hold), .answered = {}};
  by_connection_.emplace(connection, id);
}

void CompatOwners::answered(JobId id) {
  if (const auto at = jobs_.find(id); at != jobs_.end()) at->second.answered = BootClock::now();
}

void CompatOwners::touched(const daemon::Caller& caller, JobId id, std::uint64_t connection) {
  const auto at = jobs_.find(id);
  if (at == jobs_.end() || at->second.caller.user != caller.user) return;
  // Whoever asks over the connection that it submitted on means to stay, however soon it goes.
  if (at->second.connection == connection) at->second.answered.reset();
  if (at->second.connection != 0) return;
  auto hold = daemon_.hold(caller, id);
  if (!hold) {
    jobs_.erase(at);
    return;
  }
  at->second.hold = std::move(*hold);
  at->second.connection = connection;
  by_connection_.emplace(connection, id);
}

void CompatOwners::closed(std::uint64_t connection) {
  const auto [first, last] = by_connection_.equal_range(connection);
  for (auto it = first; it != last; ++it) {
    const auto at = jobs_.find(it->second);
    if (at == jobs_.end()) continue;
    Entry& entry = at->second;
    const bool forgotten = entry.answered && BootClock::now() - *entry.answered < kFireAndForget;
    if (forgotten) (void)daemon_.disown(entry.caller, it->second);  // fails when it has ended
    if (forgotten || ended(entry, it->second)) {
      jobs_.erase(at);
      continue;
    }
    entry.connection = 0;
    entry.hold->renew();  // it was there until now: the lease is whole
    entry.hold.reset();
  }
  by_connection_.erase(first, last);
  std::erase_if(jobs_,
                [&](const auto& one) { return one.second.connection == 0 && ended(one.second, one.first); });
}

bool CompatOwners::owns(std::uint64_t connection) {
  const auto [first, last] = by_connection_.equal_range(connection);
  bool any = false;
  for (auto it = first; it != last;) {
    const auto at = jobs_.find(it->second);
    if (at == jobs_.end() || ended(at->second, it->second)) {
      if (at != jobs_.end()) jobs_.erase(at);
      it = by_connection_.erase(it);
    } else {
      any = true;
      ++it;
    }
  }
  return any;
}

}  // namespace ebb::server
