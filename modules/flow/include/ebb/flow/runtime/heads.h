#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/fused.h"

/// Where a stage's records come from: a source of the user's, the rings from other stages, or the stage
/// before it on the same thread.
namespace ebb::flow {

/// A source's function may take a std::stop_token, a Context&, both or nothing.
template <typename F>
decltype(auto) pull(F& function, Context& context, const std::stop_token& stop) {
  if constexpr (std::invocable<F&>) {
    return function();
  } else if constexpr (std::invocable<F&, const std::stop_token&>) {
    return function(stop);
  } else if constexpr (std::invocable<F&, Context&>) {
    return function(context);
  } else {
    return function(stop, context);
  }
}

template <typename F>
concept SourceInBatches = requires(F& function, std::size_t limit) { std::span(function.batch(limit)); };

template <typename F>
struct SourceRecordOf {
  using type = typename std::remove_cvref_t<decltype(pull(std::declval<F&>(), std::declval<Context&>(),
                                                          std::stop_token()))>::value_type;
};
template <SourceInBatches F>
struct SourceRecordOf<F> {
  using type = typename decltype(std::span(std::declval<F&>().batch(std::size_t{1})))::value_type;
};
template <typename F>
using SourceRecord = typename SourceRecordOf<F>::type;

/// Calls a function of the user's that gives an optional<T>, or nothing when there is no more; or, of one
/// that has it, its batch(limit): a std::span of up to `limit` records, which are moved from, empty when
/// there is no more.
template <typename F, typename Policy = FailPolicy>
class SourceHead {
 public:
  using Interface = Replica;
  using Record = SourceRecord<F>;

  SourceHead(F function, Policy policy, Slot& slot, Worker& worker)
      : source_{std::move(function)}, policy_(policy), slot_(&slot), worker_(&worker) {}

  void open() { open_function(source_.function, slot_->context); }
  template <typename Emit>
  [[gnu::always_inline]] Replica::Step step(std::size_t limit, Loop& loop, Emit&& emit) {
    if (worker_->stop_requested()) return Replica::Step::ended;
    Hot hot;
    const Here here{*slot_, slot_->of, hot};
    constexpr struct {
    } none;
    bool more = true;
    if constexpr (SourceInBatches<F>) {
      std::span<Record> records;
      if (guarded(policy_, here, loop, none, [&] { records = source_.function.batch(limit); })) {
        more = !records.empty();
        if (limit == 1) worker_->begin_sample();
      }
      while (hot.given < records.size() && !loop.stopped) emit(std::move(records[hot.given++]));
    } else {
      InLoop<Source> source = source_;
      const std::stop_token stop = worker_->stop_token();
      for (std::size_t count = 0; more && count < limit && !loop.stopped; ++count) {
        // Guarded like any other function; what it gives is its own, so that a retry calls it once more.
        std::optional<Record> record;
        if (!guarded(policy_, here, loop, none,
                     [&] { record = pull(source.function, slot_->context, stop); })) {
          continue;
        }
        more = record.has_value();
        if (more) {
          if (limit == 1) worker_->begin_sample();
          ++hot.given;
          emit(std::move(*record));
        }
      }
      put_back<Source>(source_, source);
    }
    Counts::add(slot_->counts.in, hot.given + hot.lost);
    Counts::add(slot_->counts.processed, hot.given);
    Counts::add(slot_->counts.emitted, hot.given);
    return more ? Replica::Step::worked : Replica::Step::ended;
  }
  void settle() noexcept {}
  [[nodiscard]] bool swallows() const noexcept { return false; }
  Replica::Step swallow() noexcept { return Replica::Step::ended; }
  [[nodiscard]] bool ready() const noexcept { return true; }
  void end(Discard) noexcept { close_sides(*slot_); }
  static constexpr bool commits() noexcept { return kCommits<F>; }
  void close(bool success) noexcept { close_function(source_.function, success, *slot_); }

 private:
  struct Source {
    F function;
  };
  Source source_;
  Policy policy_;
  Slot* slot_;
  Worker* worker_;
};

/// Takes from rings: of one or several edges, each with one ring for each replica that produces into it.
template <typename T>
class RingHead {
 public:
  using Interface = Replica;

  struct Input {
    Edge<T>* edge;
    std::size_t producer;
    std::size_t consumer;
    Ring<T>* ring;
  };
  /// `in_turn`: strictly one record from each, as a producer before the other ends' replicas spread them.
  RingHead(std::vector<Input> inputs, bool in_turn)
      : inputs_(std::move(inputs)), next_(in_turn && inputs_.size() > 1 ? 1 : 0), in_turn_(in_turn) {
    for (const Input& input : inputs_) {
      if (input.edge->within != nullptr) cycle_ = input.edge->within;
    }
  }

  void open() {}
  template <typename Emit>
  Replica::Step step(std::size_t limit, Loop& loop, Emit&& emit) {
    // A consumer that is faster than its producers would take the lines from them that they write.
    if (few_) Parker::let_gather();
    few_ = true;
    if (in_turn_) return step_in_turn(limit, loop, emit);
    if (cycle_ != nullptr) prefer_inside();
    for (std::size_t tries = 0; tries < inputs_.size();) {
      if (next_ >= inputs_.size()) next_ = 0;
      Ring<T>& ring = *inputs_[next_].ring;
      // No more than a part of it, so that its producer goes on while this part is worked on.
      const std::span<T> records = ring.front(std::min(limit, std::max<std::size_t>(ring.capacity() / 4, 1)));
      if (!records.empty()) {
        if (limit == 1) loop.worker.begin_sample();
        std::size_t taken = 0;
        while (taken < records.size() && !loop.stopped) emit(std::move(records[taken++]));
        ring.pop(taken);
        few_ = taken < kMany;
        since_idle_ += taken;
        if (inputs_[next_].edge->within != nullptr) owed_ += taken;
        ++next_;
        return Replica::Step::worked;
      }
      if (ring.ended()) {
        lose_input(next_);
      } else {
        ++next_;
        ++tries;
      }
    }
    if (inputs_.empty()) return Replica::Step::ended;
    return std::exchange(since_idle_, 0) >= kMany ? Replica::Step::lull : Replica::Step::idle;
  }
  /// All that came of the last step's records has been given on.
  void settle() noexcept {
    if (owed_ != 0) cycle_->leave(std::exchange(owed_, 0));
  }
  /// In a cycle: takes and drops, where the operators take no more. What goes round is counted to its end,
  /// and who feeds it from outside hears that nothing is taken.
  [[nodiscard]] bool swallows() const noexcept { return cycle_ != nullptr; }
  Replica::Step swallow() noexcept {
    if (cycle_ == nullptr) return Replica::Step::ended;
    bool any = false;
    for (std::size_t at = 0; at < inputs_.size();) {
      const Input input = inputs_[at];
      if (input.edge->within == nullptr) {
        input.edge->abandon(input.producer, input.consumer, Discard::consumer_ended);
        lose_input(at);
        continue;
      }
      const std::size_t count = input.ring->front(input.ring->capacity()).size();
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
  [[nodiscard]] bool ready() const noexcept {
    if (in_turn_) return inputs_.empty() || !inputs_[next_].ring->empty() || inputs_[next_].ring->ended();
    return std::any_of(inputs_.begin(), inputs_.end(),
                       [](const Input& input) { return !input.ring->empty() || input.ring->ended(); });
  }
  void end(Discard reason) noexcept {
    for (const Input& input : inputs_) {
      if (!input.ring->ended()) input.edge->abandon(input.producer, input.consumer, reason);
    }
    inputs_.clear();
  }
  static constexpr bool commits() noexcept { return false; }
  void close(bool) noexcept {}

 private:
  static constexpr std::size_t kMany = 128;

  template <typename Emit>
  Replica::Step step_in_turn(std::size_t limit, Loop& loop, Emit&& emit) {
    std::size_t taken = 0;
    while (taken < limit && !loop.stopped && !inputs_.empty()) {
      const Input& input = inputs_[next_];
      const std::span<T> records = input.ring->front(1);
      if (!records.empty()) {
        if (limit == 1) loop.worker.begin_sample();
        emit(std::move(records[0]));
        input.ring->pop(1);
        if (input.edge->within != nullptr) ++owed_;
        ++taken;
        next_ = (next_ + 1) % inputs_.size();
      } else if (input.ring->ended()) {
        lose_input(next_);
        if (next_ == inputs_.size()) next_ = 0;
      } else {
        break;
      }
    }
    if (inputs_.empty()) return Replica::Step::ended;
    return taken != 0 ? Replica::Step::worked : Replica::Step::idle;
  }
  // One that has ended, and whose records were all worked on.
  void lose_input(std::size_t at) noexcept {
    if (inputs_[at].edge->into != nullptr) ++owed_;
    inputs_.erase(inputs_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  // What goes round comes before what comes in, so that no more of it gathers than it must.
  void prefer_inside() noexcept {
    for (std::size_t tries = 0; tries < inputs_.size(); ++tries) {
      const std::size_t at = (next_ + tries) % inputs_.size();
      if (inputs_[at].edge->within != nullptr && !inputs_[at].ring->empty()) {
        next_ = at;
        return;
      }
    }
  }

  std::vector<Input> inputs_;
  std::size_t next_ = 0;
  bool in_turn_ = false;
  bool few_ = false;
  std::size_t since_idle_ = 0;  // records
  Cycle* cycle_ = nullptr;
  // By how much the cycle's count goes down once all of it is given on: records that went round, and edges
  // from outside that have ended.
  std::uint64_t owed_ = 0;
};

/// Is handed records by the stage before it.
template <typename T>
class InlineHead {
 public:
  using Interface = Consumer<T>;

  InlineHead(Edge<T>& edge, std::size_t producer) : edge_(&edge), producer_(producer) {}

  void open() {}
  /// Of these records.
  template <typename Emit>
  void consume(std::span<T> records, Loop& loop, Emit&& emit) {
    const RunState& run = loop.worker.run();
    std::size_t taken = 0;
    if (!run.halted()) {
      while (taken < records.size() && !loop.stopped) emit(std::move(records[taken++]));
    }
    edge_->count_inline(producer_, taken);
    if (taken == records.size()) return;
    edge_->count_dropped(producer_, run.halted() ? run.discard() : Discard::consumer_ended,
                         records.size() - taken);
  }
  void end(Discard) noexcept {}
  static constexpr bool commits() noexcept { return false; }
  void close(bool) noexcept {}

 private:
  Edge<T>* edge_;
  std::size_t producer_;
};

}  // namespace ebb::flow
