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

/// The rings that a replica takes from, without the type of their records: of one or several edges, each with
/// one ring for each replica that produces into it.
class RingInputs {
 public:
  /// Of the consuming replica with this number. `in_turn`: strictly one record from each, as a producer
  /// before the other ends' replicas spread them.
  RingInputs(const std::vector<EdgeBase*>& edges, std::size_t number, bool in_turn);

  /// All that came of the last step's records has been given on.
  void settle() noexcept {
    if (owed_ != 0) cycle_->leave(std::exchange(owed_, 0));
  }
  /// In a cycle: takes and drops, where the operators take no more. What goes round is counted to its end,
  /// and who feeds it from outside hears that nothing is taken.
  [[nodiscard]] bool swallows() const noexcept { return cycle_ != nullptr; }
  Replica::Step swallow() noexcept;
  [[nodiscard]] bool ready() const noexcept;
  void end(Discard reason) noexcept;

 protected:
  struct Part {
    RingBase* ring = nullptr;
    RingBase::Front front;
  };
  [[nodiscard]] bool in_turn() const noexcept { return in_turn_; }
  void begin_step() noexcept;
  /// The records to work on next, `limit` at most, which took() must follow; without a ring where none has
  /// any.
  [[nodiscard]] Part next(std::size_t limit, Loop& loop);
  /// So many of them were given on, and are popped.
  void took(std::size_t count) noexcept;
  /// What a step is that has found none.
  [[nodiscard]] Replica::Step without() noexcept;

 private:
  struct Input {
    EdgeBase* edge;
    std::size_t producer;
    std::size_t consumer;
    RingBase* ring;
  };
  static constexpr std::size_t kMany = 128;

  void lose_input(std::size_t at) noexcept;
  void prefer_inside() noexcept;

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

/// Takes from rings.
template <typename T>
class RingHead : public RingInputs {
 public:
  using Interface = Replica;
  using RingInputs::RingInputs;

  void open() {}
  template <typename Emit>
  [[gnu::always_inline]] Replica::Step step(std::size_t limit, Loop& loop, Emit&& emit) {
    begin_step();
    std::size_t taken = 0;
    do {
      const Part part = next(limit - taken, loop);
      if (part.ring == nullptr) break;
      auto& ring = static_cast<Ring<T>&>(*part.ring);
      const std::span<T> records = ring.records(part.front);
      std::size_t done = 0;
      while (done < records.size() && !loop.stopped) emit(std::move(records[done++]));
      ring.pop(done);
      took(done);
      taken += done;
    } while (in_turn() && taken < limit && !loop.stopped);
    return taken != 0 ? Replica::Step::worked : without();
  }
  static constexpr bool commits() noexcept { return false; }
  void close(bool) noexcept {}
};

/// Is handed records by the stage before it.
template <typename T>
class InlineHead {
 public:
  using Interface = Consumer<T>;

  InlineHead(EdgeBase& edge, std::size_t producer) : edge_(&edge), producer_(producer) {}

  void open() {}
  /// Of these records.
  template <typename Emit>
  [[gnu::always_inline]] void consume(std::span<T> records, Loop& loop, Emit&& emit) {
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
  EdgeBase* edge_;
  std::size_t producer_;
};

}  // namespace ebb::flow
