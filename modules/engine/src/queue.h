#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "job.h"
#include "ranked_set.h"
#include "slab.h"

namespace ebb::engine {

/// Owns the live jobs and keeps the waiting ones in order: a higher priority first, then submission.
///
/// A job is *counted* from its entry until its attempt is recorded (it has a position), and *waits* (is in
/// its lane, where dispatching finds it) for as long as nothing is being acquired for it.
class Queue {
 public:
  /// Order of the heads: priority, then submission.
  using Key = std::pair<int, std::int64_t>;
  using Heads = std::map<Key, Group*>;

  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  ~Queue();

  /// A new job, neither counted nor waiting; the id must be unused. Stable until forget().
  Job& add(const JobInfo& info);
  /// Must be neither counted nor waiting; `job` is gone afterwards.
  void forget(Job& job);
  [[nodiscard]] Job* find(JobId id);
  [[nodiscard]] const Job* find(JobId id) const;

  void count(Job& job);
  void uncount(Job& job);
  /// Puts a counted job into its lane, at its place by submission.
  void wait(Job& job);
  /// Takes it out again. One that is not its group's head must be uncounted next.
  void unwait(Job& job);

  /// The first waiting job of each group, in order. Changes with wait() and unwait().
  [[nodiscard]] const Heads& heads() const { return heads_; }
  [[nodiscard]] static Job& head(const Group& group) {
    const Lane& lane = group.lanes.begin()->second;
    return *lane.entries[lane.head].job;
  }
  [[nodiscard]] static Key key(const Job& job) { return {-job.priority, job.seq}; }

  /// From 1, of a counted job.
  [[nodiscard]] std::int64_t position(const Job& job) const;
  [[nodiscard]] std::int64_t counted() const { return counted_; }
  /// Live jobs of this user.
  [[nodiscard]] std::int64_t jobs_of(const std::string& user) const;
  [[nodiscard]] const Group* find(const Shape& shape) const;
  [[nodiscard]] std::size_t groups() const { return groups_.size(); }

 private:
  using Jobs = boost::unordered_flat_map<JobId, Job*, std::hash<JobId>, std::equal_to<>,
                                         LargeAllocator<std::pair<const JobId, Job*>>>;

  static void insert_in_order(Lane& lane, Job& job);
  void pass_over_dead(Lane& lane, const RankedSet& counted);

  Slab slab_;
  Jobs jobs_;
  std::map<Shape, Group> groups_;
  std::map<std::string, UserTally> users_;
  Heads heads_;
  std::map<int, RankedSet, std::greater<>> ranks_;  // by priority: sequence numbers of the counted jobs
  std::int64_t counted_ = 0;
};

}  // namespace ebb::engine
