#include "queue.h"

#include <cassert>

namespace ebb::engine {
namespace {
constexpr std::size_t kKeptSlots = 1024;
}

Job& Queue::add(const JobInfo& info) {
  Job* slot = nullptr;
  if (spare_.empty()) {
    slot = &slab_.emplace_back();
  } else {
    slot = spare_.back();
    spare_.pop_back();
    *slot = Job{};
  }
  Job& job = *slot;
  job.id = info.id;
  job.priority = info.priority;
  job.seq = info.seq;
  job.memory_bytes = info.demand.memory_bytes;
  job.grace = info.grace;
  job.time = info.time;
  job.owner.lease = info.owner_lease;
  job.waits_for_ready = info.waits_for_ready;

  const Shape shape = shape_of(info.demand);
  Group& group = groups_[shape];
  if (group.jobs++ == 0) group.shape = shape;
  job.group = &group;
  UserTally& user = users_[info.user];
  if (user.jobs++ == 0) user.name = info.user;
  job.user = &user;

  [[maybe_unused]] const bool is_new = jobs_.emplace(job.id, &job).second;
  assert(is_new);
  return job;
}

void Queue::forget(Job& job) {
  jobs_.erase(job.id);
  if (--job.group->jobs == 0) groups_.erase(groups_.find(job.group->shape));
  if (--job.user->jobs == 0) users_.erase(users_.find(job.user->name));
  job.phase = Queued{};  // its box is freed now, not when the slot is used again
  spare_.push_back(&job);
  if (jobs_.empty() && slab_.size() > kKeptSlots) {  // after a flood, give its memory back
    spare_ = std::vector<Job*>();
    slab_.clear();
    jobs_.rehash(0);
  }
}

Job* Queue::find(JobId id) {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : it->second;
}
const Job* Queue::find(JobId id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : it->second;
}

void Queue::count(Job& job) {
  if (ranks_[job.priority].insert(job.seq)) ++counted_;
}

void Queue::uncount(Job& job) {
  const auto it = ranks_.find(job.priority);
  if (it == ranks_.end() || !it->second.erase(job.seq)) return;
  --counted_;
  if (it->second.size() == 0) ranks_.erase(it);
}

void Queue::insert_in_order(Lane& lane, Job& job) {
  if (!lane.last || lane.last->seq < job.seq) {  // the usual case: it is the newest
    job.before = lane.last;
    job.behind = nullptr;
    (lane.last ? lane.last->behind : lane.first) = &job;
    lane.last = &job;
    return;
  }
  // One that comes back was at the head a moment ago, so only others like it stand before it.
  Job* after = lane.first;
  while (after->seq < job.seq) after = after->behind;
  job.before = after->before;
  job.behind = after;
  (after->before ? after->before->behind : lane.first) = &job;
  after->before = &job;
}

void Queue::wait(Job& job) {
  Group& group = *job.group;
  Job* const old_head = group.lanes.empty() ? nullptr : &head(group);
  insert_in_order(group.lanes[job.priority], job);
  if (&head(group) != &job) return;
  if (old_head) heads_.erase(key(*old_head));
  heads_.emplace(key(job), &group);
}

void Queue::unwait(Job& job) {
  Group& group = *job.group;
  const bool was_head = &head(group) == &job;
  const auto lane = group.lanes.find(job.priority);
  (job.before ? job.before->behind : lane->second.first) = job.behind;
  (job.behind ? job.behind->before : lane->second.last) = job.before;
  job.before = job.behind = nullptr;
  if (!lane->second.first) group.lanes.erase(lane);
  if (!was_head) return;
  heads_.erase(key(job));
  if (!group.lanes.empty()) heads_.emplace(key(head(group)), &group);
}

std::int64_t Queue::position(const Job& job) const {
  std::int64_t ahead = 0;
  for (const auto& [priority, set] : ranks_) {
    if (priority == job.priority) return ahead + set.rank(job.seq) + 1;
    ahead += set.size();
  }
  return ahead + 1;
}

std::int64_t Queue::jobs_of(const std::string& user) const {
  const auto it = users_.find(user);
  return it == users_.end() ? 0 : it->second.jobs;
}

const Group* Queue::find(const Shape& shape) const {
  const auto it = groups_.find(shape);
  return it == groups_.end() ? nullptr : &it->second;
}

}  // namespace ebb::engine
