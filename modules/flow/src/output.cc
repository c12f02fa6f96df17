#include "ebb/flow/runtime/output.h"

#include <exception>
#include <stdexcept>

#include "ebb/flow/runtime/made.h"

namespace ebb::flow {

void InlineReplicas::add(std::unique_ptr<Replica> replica) { replicas_.push_back(std::move(replica)); }

void InlineReplicas::open() {
  for (const auto& replica : replicas_) replica->open();
}

void InlineReplicas::finish() {
  for (const auto& replica : replicas_) replica->finish();
}

void InlineReplicas::end(Discard reason) noexcept {
  for (const auto& replica : replicas_) replica->end(reason);
}

bool InlineReplicas::commits() const noexcept {
  return std::any_of(replicas_.begin(), replicas_.end(),
                     [](const auto& replica) { return replica->commits(); });
}

void InlineReplicas::close(bool success) noexcept {
  for (const auto& replica : replicas_) replica->close(success);
}

namespace {

bool all_abandoned(const std::vector<RingBase*>& rings) noexcept {
  return std::all_of(rings.begin(), rings.end(), [](const RingBase* ring) { return ring->abandoned(); });
}

}  // namespace

void OutputBase::add(EdgeBase& edge) {
  Way way{.edge = &edge, .rings = {}, .next = replica_, .behind = nullptr};
  for (std::size_t consumer = 0; consumer < edge.consumers() && !edge.is_feedback(); ++consumer) {
    way.rings.push_back(&edge.ring(replica_, consumer));
  }
  ways_.push_back(std::move(way));
  // Where it takes no more than a push, of which nobody counts what is inside a cycle.
  const bool simple = ways_.size() == 1 && edge.within == nullptr && !edge.is_feedback() &&
                      (ways_[0].rings.size() == 1 || edge.spread() == Spread::by_hash);
  direct_ = simple ? ways_[0].rings : std::vector<RingBase*>();
}

void OutputBase::add_inline(EdgeBase& edge, InlineReplica& replica) {
  ways_.push_back({.edge = &edge, .rings = {}, .next = 0, .behind = &replica});
  direct_.clear();
}

bool OutputBase::unwanted() const noexcept {
  return !ways_.empty() && std::all_of(ways_.begin(), ways_.end(), [](const Way& way) {
    if (way.behind != nullptr) return way.behind->done();
    return !way.edge->is_feedback() && all_abandoned(way.rings);
  });
}

void OutputBase::drop(Discard reason) noexcept {
  for (const Way& way : ways_) way.edge->count_dropped(replica_, reason, 1);
}

void OutputBase::close() noexcept {
  for (const Way& way : ways_) {
    if (way.edge->is_feedback() && way.behind == nullptr) way.edge->close_producer();
    for (RingBase* ring : way.rings) ring->close();
  }
}

std::size_t OutputBase::choose(Way& way, std::uint64_t hash) {
  const std::size_t count = way.rings.size();
  if (count == 1) return 0;
  switch (way.edge->spread()) {
    case Spread::by_hash:
      return by_hash(hash, count);
    case Spread::in_turn:
      return way.next = (way.next + 1) % count;
    case Spread::broadcast:
      return count - 1;
    case Spread::round_robin:
      break;
  }
  // The next one that has room and takes records; where none has, the first that gets it.
  const auto find = [&] {
    for (std::size_t tries = 0; tries < count; ++tries) {
      way.next = (way.next + 1) % count;
      RingBase& ring = *way.rings[way.next];
      if (ring.has_room() && !ring.abandoned()) return true;
    }
    return all_abandoned(way.rings);
  };
  if (find()) return way.next;
  for (RingBase* ring : way.rings) ring->hurry(BootClock::now());
  worker_->wait(Doing::blocked, &way.edge->consumer()->operators.front()->name, find);
  return way.next;
}

bool OutputBase::make_room(Way& way, RingBase& ring) {
  if (!ring.has_room() && !ring.abandoned()) {
    ring.hurry(BootClock::now());
    worker_->wait(Doing::blocked, &way.edge->consumer()->operators.front()->name,
                  [&] { return ring.roomy(); });
  }
  if (ring.abandoned()) {
    way.edge->count_dropped(replica_, ring.reason(), 1);
    return false;
  }
  if (!ring.has_room()) {  // the run was halted meanwhile
    way.edge->count_dropped(replica_, worker_->run().discard(), 1);
    return false;
  }
  if (way.edge->within != nullptr) way.edge->within->enter(1);
  return true;
}

bool OutputBase::enter(EdgeBase& edge) {
  Cycle* const cycle = edge.cycle();
  if (cycle == nullptr) return true;
  if (cycle->over()) {
    // Only a finish() can, and there is nobody any more who would take it.
    edge.count_dropped(replica_, Discard::consumer_ended, 1);
    worker_->run().fail(
        edge.from().name,
        made_error<std::logic_error>("ebb: a finish() gave a record to its own cycle, which is over"));
    return false;
  }
  cycle->enter(1);
  return true;
}

void OutputBase::check_backlog(const EdgeBase& edge, std::uint64_t bytes) {
  RunState& run = worker_->run();
  if (bytes <= run.limits().feedback) return;
  run.fail(edge.from().name,
           made_error<std::length_error>(
               "ebb: more than the feedback_limit of the pipeline waits on the feedback edge behind '" +
               edge.from().name + "'"));
}

void OutputBase::lose(Way& way) noexcept {
  way.edge->count_dropped(replica_, Discard::failure, 1);
  worker_->run().fail(way.edge->from().name, std::current_exception());
}

bool OutputBase::is_last_inline(std::size_t at) const noexcept {
  return std::none_of(ways_.begin() + static_cast<std::ptrdiff_t>(at) + 1, ways_.end(),
                      [](const Way& way) { return way.behind != nullptr; });
}

}  // namespace ebb::flow
