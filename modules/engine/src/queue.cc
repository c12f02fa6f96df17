#include "queue.h"

#include <cassert>

namespace ebb::engine {
namespace {
constexpr std::size_t kToleratedWaste = 64;
}

Queue::~Queue() {
  for (const auto& [id, job] : jobs_) slab_.drop(job);
}

Job& Queue::add(const JobInfo& info) {
  Job& job = *slab_.make();
  job.id = info.id;
  job.priority = info.priority;
  job.seq = info.seq;
  job.memory_bytes = info.demand.memory_bytes;
  job.grace = info.grace;
  job.time = info.time;
  job.owner_lease = info.owner_lease;
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
  slab_.drop(&job);
  if (jobs_.empty()) jobs_.rehash(0);
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
  auto& entries = lane.entries;
  const Lane::Entry entry{job.seq, &job};
  if (lane.head == entries.size() || entries.back().seq < job.seq) {  // the usual case: it is the newest
    entries.push_back(entry);
    return;
  }
  // One that comes back was at the head a moment ago, so little stands before it; it moves a place forward.
  if (lane.head == 0) {
    const std::size_t room = entries.size() / 8 + 4;
    entries.insert(entries.begin(), room, Lane::Entry{});
    lane.head = room;
  }
  --lane.head;
  std::size_t place = lane.head;
  for (; place + 1 < entries.size() && entries[place + 1].seq < job.seq; ++place)
    entries[place] = entries[place + 1];
  entries[place] = entry;
}

void Queue::pass_over_dead(Lane& lane, const RankedSet& counted) {
  auto& entries = lane.entries;
  while (lane.head < entries.size() && !counted.contains(entries[lane.head].seq)) ++lane.head;
  const std::size_t waste = entries.size() - static_cast<std::size_t>(lane.live);
  if (waste < static_cast<std::size_t>(lane.live) + kToleratedWaste) return;
  // Used-up ones first: the jobs of some of them are being started, and still counted.
  entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(lane.head));
  std::erase_if(entries, [&](const Lane::Entry& entry) { return !counted.contains(entry.seq); });
  lane.head = 0;
}

void Queue::wait(Job& job) {
  Group& group = *job.group;
  Job* const old_head = group.lanes.empty() ? nullptr : &head(group);
  Lane& lane = group.lanes[job.priority];
  insert_in_order(lane, job);
  ++lane.live;
  if (&head(group) != &job) return;
  if (old_head) heads_.erase(key(*old_head));
  heads_.emplace(key(job), &group);
}

void Queue::unwait(Job& job) {
  Group& group = *job.group;
  const bool was_head = &head(group) == &job;
  const auto it = group.lanes.find(job.priority);
  Lane& lane = it->second;
  if (lane.entries[lane.head].job == &job) ++lane.head;
  if (--lane.live == 0)
    group.lanes.erase(it);
  else
    pass_over_dead(lane, ranks_.find(job.priority)->second);
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
