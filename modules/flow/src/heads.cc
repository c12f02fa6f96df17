#include "ebb/flow/runtime/heads.h"

#include <algorithm>

namespace ebb::flow {

RingInputs::RingInputs(const std::vector<EdgeBase*>& edges, std::size_t number, bool in_turn)
    : in_turn_(in_turn) {
  for (EdgeBase* edge : edges) {
    for (std::size_t producer = 0; producer < edge->producers(); ++producer) {
      inputs_.push_back({edge, producer, number, &edge->ring(producer, number)});
    }
    if (edge->within != nullptr) cycle_ = edge->within;
  }
  if (in_turn_ && inputs_.size() > 1) next_ = 1;
}

void RingInputs::begin_step() noexcept {
  // A consumer that is faster than its producers would take the lines from them that they write.
  if (std::exchange(few_, true)) Parker::let_gather();
  if (cycle_ != nullptr && !in_turn_) prefer_inside();
}

RingInputs::Part RingInputs::next(std::size_t limit, Loop& loop) {
  for (std::size_t tries = 0; tries < inputs_.size();) {
    if (next_ >= inputs_.size()) next_ = 0;
    RingBase& ring = *inputs_[next_].ring;
    // No more than a part of it, so that its producer goes on while this part is worked on.
    const RingBase::Front front =
        ring.peek(in_turn_ ? 1 : std::min(limit, std::max<std::size_t>(ring.capacity() / 4, 1)));
    if (front.count != 0) {
      if (limit == 1) loop.worker.begin_sample();
      return {.ring = &ring, .front = front};
    }
    if (ring.ended()) {
      lose_input(next_);
    } else if (in_turn_) {
      break;
    } else {
      ++next_;
      ++tries;
    }
  }
  return {};
}

void RingInputs::took(std::size_t count) noexcept {
  few_ = count < kMany;
  since_idle_ += count;
  if (inputs_[next_].edge->within != nullptr) owed_ += count;
  ++next_;
}

Replica::Step RingInputs::without() noexcept {
  if (inputs_.empty()) return Replica::Step::ended;
  return std::exchange(since_idle_, 0) >= kMany ? Replica::Step::lull : Replica::Step::idle;
}

Replica::Step RingInputs::swallow() noexcept {
  if (cycle_ == nullptr) return Replica::Step::ended;
  bool any = false;
  for (std::size_t at = 0; at < inputs_.size();) {
    const Input input = inputs_[at];
    if (input.edge->within == nullptr) {
      input.edge->abandon(input.producer, input.consumer, Discard::consumer_ended);
      lose_input(at);
      continue;
    }
    const std::size_t count = input.ring->peek(input.ring->capacity()).count;
    input.ring->pop(count);
    input.edge->count_swallowed(input.consumer, count);
    owed_ += count;
    any = any || count != 0;
    if (input.ring->ended()) {
      lose_input(at);
    } else {
      ++at;
    }
  }
  settle();
  if (inputs_.empty()) return Replica::Step::ended;
  return any ? Replica::Step::worked : Replica::Step::idle;
}

bool RingInputs::ready() const noexcept {
  const auto has = [](const Input& input) { return !input.ring->empty() || input.ring->ended(); };
  if (in_turn_) return inputs_.empty() || has(inputs_[next_ < inputs_.size() ? next_ : 0]);
  return std::any_of(inputs_.begin(), inputs_.end(), has);
}

void RingInputs::end(Discard reason) noexcept {
  for (const Input& input : inputs_) {
    if (!input.ring->ended()) input.edge->abandon(input.producer, input.consumer, reason);
  }
  inputs_.clear();
}

// One that has ended, and whose records were all worked on.
void RingInputs::lose_input(std::size_t at) noexcept {
  if (inputs_[at].edge->into != nullptr) ++owed_;
  inputs_.erase(inputs_.begin() + static_cast<std::ptrdiff_t>(at));
}

// What goes round comes before what comes in, so that no more of it gathers than it must.
void RingInputs::prefer_inside() noexcept {
  for (std::size_t tries = 0; tries < inputs_.size(); ++tries) {
    const std::size_t at = (next_ + tries) % inputs_.size();
    if (inputs_[at].edge->within != nullptr && !inputs_[at].ring->empty()) {
      next_ = at;
      return;
    }
  }
}

}  // namespace ebb::flow
