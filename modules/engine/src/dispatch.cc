#include "core.h"

namespace ebb::engine {

void Engine::State::settle() {
  if (!std::exchange(changed_, false)) return;
  if (may_start()) dispatch();
  update_watches();
}

// Goes through the waiting jobs in order, but looks only at the head of each group: what stands behind it
// asks for the same, so it does not fit either. A job that fits is started wherever it stands in the queue;
// the first that does not (and could, once running jobs have ended) is the one that the others overtake, and
// when that has gone on for long enough, what it asks for is held for it.
void Engine::State::dispatch() {
  pool_.drop_hold();
  bool nobody_waits = true;
  auto it = queue_.heads().begin();
  const auto occupied = [this] { return static_cast<std::int64_t>(active_.size() + acquiring_.size()); };
  while (it != queue_.heads().end() && occupied() < limits_.max_running) {
    const Queue::Key key = it->first;
    Job& job = Queue::head(*it->second);
    const Shape& shape = job.group->shape;
    if (auto leases = pool_.take(job.id, shape, job.memory_bytes)) {
      acquire(job, std::move(*leases));
    } else if (nobody_waits && pool_.within_reach(shape, job.memory_bytes)) {
      nobody_waits = false;
      if (!job.first_since) job.first_since = now_.boot;
      if (now_.boot - *job.first_since >= limits_.overtake) pool_.hold(job.id, shape, job.memory_bytes);
    }
    it = queue_.heads().upper_bound(key);  // the group's next head, if any, comes later than this one
  }
}

void Engine::State::acquire(Job& job, Leases leases) {
  queue_.unwait(job);
  ++job.attempts;
  acquiring_.insert(job.id);
  out_.now.emplace_back(act::Acquire{job.attempt_id(), leases});
  auto acquiring = std::make_unique<Acquiring>();
  acquiring->leases = std::move(leases);
  job.phase = std::move(acquiring);
}

// Somebody has to look at a device that is used from outside for as long as a waiting job could use it, and
// no longer: each look costs a call into the driver.
void Engine::State::update_watches() {
  std::set<std::pair<bool, int>> wanted;
  if (may_start() && pool_.any_strange())
    for (const auto& [key, group] : queue_.heads()) pool_.lacking(group->shape, wanted);
  for (const auto& [is_port, id] : watched_)
    if (!wanted.contains({is_port, id})) out_.now.emplace_back(act::Unwatch{is_port, id});
  for (const auto& [is_port, id] : wanted)
    if (!watched_.contains({is_port, id})) out_.now.emplace_back(act::Watch{is_port, id});
  watched_ = std::move(wanted);
}

}  // namespace ebb::engine
