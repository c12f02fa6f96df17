#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/keyed.h"
#include "ebb/flow/runtime/output.h"
#include "ebb/flow/runtime/own_hooks.h"
#include "ebb/flow/runtime/pack.h"

/// A chain of operators as one loop: from where records come, through each operator's function, to where they
/// go, without a call that the compiler does not see through.
namespace ebb::flow {

template <typename T>
class InlineHead;

/// Operators that a loop works on a copy of, which it puts back after its batch: the state of their functions
/// then is in registers. Small ones that are copied byte by byte, and that nobody has told where they are.
template <typename Op>
inline constexpr bool kCopiedIntoLoop =
    std::is_trivially_copyable_v<Op> && std::copy_constructible<Op> && sizeof(Op) <= 64 &&
    !requires(Op& op, Context& context) { op.function.open(context); };
template <typename Op>
using InLoop = std::conditional_t<kCopiedIntoLoop<Op>, Op, Op&>;

/// Operators that may give records when their input has ended.
template <typename Op>
inline constexpr bool kHoldsRecords =
    requires(Op& op, Here here, Loop& loop, void* next) { op.finish(here, loop, next); };

template <typename Op>
[[gnu::always_inline]] inline void put_back(Op& op, const std::type_identity_t<Op>& copy) noexcept {
  if constexpr (kCopiedIntoLoop<Op>) std::construct_at(std::addressof(op), copy);
}

/// The operators of one replica, their slots, and the output behind them.
template <typename Output, typename... Ops>
class Chained {
 public:
  static constexpr std::size_t kOps = sizeof...(Ops);

  Chained(Pack<Ops...> ops, std::array<Slot*, kOps> slots, Worker& worker, Output output)
      : ops_(std::move(ops)), slots_(slots), worker_(&worker), output_(std::move(output)) {}

  [[nodiscard]] Output& output() noexcept { return output_; }
  [[nodiscard]] const Output& output() const noexcept { return output_; }
  /// No operator takes any more records.
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }

  /// Calls `take(loop, emit)`, where emit sends a record through all operators; gives what that gives.
  template <typename Take>
  [[gnu::always_inline]] auto batch(Take&& take) {
    Loop loop{*worker_, stopped_};
    Pass pass(*this, loop);
    try {
      auto done = take(loop, [&](auto&& record) __attribute__((always_inline)) {
        ++pass.taken;
        pass.template push<0>(std::forward<decltype(record)>(record));
      });
      pass.settle();
      return done;
    } catch (...) {  // of the records' own constructors
      pass.settle();
      throw;
    }
  }

  void open() {
    each([](auto& op, Slot& slot) { open_function(op.function, slot.context); });
    for (std::size_t i = 0; i < kOps; ++i) {
      if (slots_[i]->context.finished()) finished(i);
    }
    worker_->at = nullptr;
  }
  // Where its first operator has calls under way.
  static constexpr bool kAsync = [] {
    if constexpr (kOps > 0) {
      return requires { PackAt<0, Ops...>::kAsync; };
    } else {
      return false;
    }
  }();
  [[nodiscard]] bool has_answers() const { return at<0>(ops_).ready(); }
  /// Gives on what they have brought or, with `all`, what they will.
  void take_answers(bool all) {
    Loop loop{*worker_, stopped_};
    Pass pass(*this, loop);
    const auto next = [&](auto&& out) {
      if (!accepts(1, loop)) return pass.template drop<0>();
      pass.template push<1>(std::forward<decltype(out)>(out));
    };
    auto& op = at<0>(pass.ops);
    if (all) {
      op.complete(pass.template here<0>(), loop, next);
    } else {
      op.poll(pass.template here<0>(), loop, next);
    }
    pass.settle();
  }
  void settle() noexcept { at<0>(ops_).settled(*slots_[0]->of); }

  /// Nothing follows.
  void end() noexcept {
    if constexpr (kAsync) at<0>(ops_).abandon(*worker_, *slots_[0]->of);
    output_.close();
    for (Slot* slot : slots_) close_sides(*slot);
  }
  static constexpr bool commits() noexcept {
    return (kCommits<decltype(std::declval<Ops&>().function)> || ...);
  }
  void close(bool success) noexcept {
    each([&](auto& op, Slot& slot) { close_function(op.function, success, slot); });
    worker_->at = nullptr;
  }
  /// Lets each operator emit what it holds, from the head to the tail.
  void finish() {
    finishing_ = true;
    stopped_ = false;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (..., finish_at<I>());
    }(std::make_index_sequence<kOps>());
    output_.flush();
  }

 private:
  // One pass over some records: everything that the loop needs, as local variables of it. No function that is
  // not inlined may get its address, nor that of a part, not even one that is never called: it would be in
  // memory then. So the loop, of which operators that fail are told, is not a part of it.
  struct Pass {
    Pass(Chained& of_chain, Loop& of_pass)
        : chain(of_chain), loop(of_pass), ops(in_loop(chain.ops_, std::make_index_sequence<kOps>())) {
      for (std::size_t i = 0; i < kOps; ++i) of[i] = chain.slots_[i]->of;
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() = default;

    template <std::size_t... I>
    static Pack<InLoop<Ops>...> in_loop(Pack<Ops...>& ops, std::index_sequence<I...>) {
      return {{at<I>(ops)}...};
    }

    /// One record through operator I and all that follow.
    template <std::size_t I, typename T>
    [[gnu::always_inline]] void push(T&& record) {
      if constexpr (I == kOps) {
        if constexpr (!std::same_as<Output, NoOutput>) {
          chain.output_.give(std::forward<T>(record), writer);
        }
      } else {
        auto& op = at<I>(ops);
        using Op = std::remove_cvref_t<decltype(op)>;
        op.apply(std::forward<T>(record), here<I>(), loop, [&](auto&& out) __attribute__((always_inline)) {
          if constexpr (Op::kGives == Gives::many) {
            if (!chain.accepts(I + 1, loop)) return drop<I>();
          }
          push<I + 1>(std::forward<decltype(out)>(out));
        });
        if constexpr (may_finish<Op, T>()) {
          if (chain.slots_[I]->context.finished()) {
            chain.finished(I);
            loop.stopped = true;
          }
        }
      }
    }
    template <std::size_t I>
    [[gnu::always_inline]] void drop() {
      ++hots[I].dropped;
      chain.count_dropped(I + 1);
    }
    template <std::size_t I>
    [[nodiscard]] [[gnu::always_inline]] Here here() {
      return {*chain.slots_[I], of[I], hots[I]};
    }
    /// Puts everything back, and adds what was counted to what everybody can read.
    [[gnu::always_inline]] void settle() noexcept {
      [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
        [[maybe_unused]] std::uint64_t in = taken;
        (..., (put_back<Ops>(at<I>(chain.ops_), at<I>(ops)),
               in = count<Ops::kGives>(chain.slots_[I]->counts, in, hots[I])));
      }(std::make_index_sequence<kOps>());
      if (loop.stopped) chain.stopped_ = true;
      chain.worker_->at = nullptr;
    }
    // What the operator behind this one got.
    template <Gives How>
    [[gnu::always_inline]] static std::uint64_t count(Counts& counts, std::uint64_t in,
                                                      const Hot& hot) noexcept {
      const std::uint64_t done = in - hot.lost;
      const std::uint64_t given = How == Gives::one ? done : hot.given;
      const std::uint64_t filtered = How == Gives::one_or_none ? done - given : 0;
      Counts::add(counts.in, in);
      Counts::add(counts.processed, done - filtered);
      Counts::add(counts.filtered, filtered);
      Counts::add(counts.emitted, given);
      return given - hot.dropped;
    }

    Chained& chain;
    Loop& loop;
    Pack<InLoop<Ops>...> ops;
    std::array<const Operator*, kOps> of{};
    std::array<Hot, kOps> hots{};
    typename Output::Writer writer = chain.output_.writer();
    std::uint64_t taken = 0;
  };

  template <typename Do>
  void each(Do&& action) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (..., (worker_->at = slots_[I]->of, action(at<I>(ops_), *slots_[I])));
    }(std::make_index_sequence<kOps>());
  }

  template <std::size_t I>
  void finish_at() {
    if constexpr (kHoldsRecords<PackAt<I, Ops...>>) {
      if (worker_->run().halted()) return;
      Loop loop{*worker_, stopped_};
      Pass pass(*this, loop);
      const auto next = [&](auto&& out) {
        if (!accepts(I + 1, loop)) return pass.template drop<I>();
        pass.template push<I + 1>(std::forward<decltype(out)>(out));
      };
      try {
        at<I>(pass.ops).finish(pass.template here<I>(), loop, next);
      } catch (...) {  // of the records' own constructors
        worker_->run().fail(slots_[I]->of->name, std::current_exception());
      }
      pass.settle();
    }
  }

  /// Whether operator `to` (or, past the last, the output) still takes records.
  [[nodiscard]] bool accepts(std::size_t to, const Loop& loop) const noexcept {
    if (!finishing_) return !loop.stopped;
    return to >= takes_from_ && !worker_->run().halted();
  }
  [[gnu::cold]] void count_dropped(std::size_t to) noexcept {
    const Discard reason = worker_->run().halted() ? worker_->run().discard() : Discard::consumer_ended;
    if (to < kOps) {
      Counts::add(slots_[to]->counts.discarded[static_cast<std::size_t>(reason)], 1);
    } else {
      output_.drop(reason);
    }
  }
  // Whether the operator can say that it takes no more records.
  template <typename Op, typename In>
  static constexpr bool may_finish() {
    if constexpr (requires { Op::kFinishes; }) {
      return Op::kFinishes;
    } else {
      return !std::invocable<decltype(std::declval<Op&>().function)&, In>;
    }
  }
  // Operator i takes no more records.
  void finished(std::size_t i) noexcept {
    stopped_ = true;
    takes_from_ = std::max(takes_from_, i + 1);
  }

  Pack<Ops...> ops_;
  std::array<Slot*, kOps> slots_;
  Worker* worker_;
  Output output_;
  bool stopped_ = false;
  bool finishing_ = false;
  std::size_t takes_from_ = 0;  // operators before this one have finished
};

/// What an output leads to, made when a run starts: the replica's own end of every edge, and the replicas
/// that run inline behind it.
template <typename T>
struct Outlet {
  std::conditional_t<std::is_void_v<T>, NoOutput, Output<T>> output;
  InlineReplicas inlined;
};

/// A head, the operators behind it, and what runs inline behind those, for every kind of head: what is called
/// for each record stands in the two classes that follow.
template <typename Head, typename T, typename... Ops>
class FusedBase : public Head::Interface {
 public:
  FusedBase(Head head, Pack<Ops...> ops, std::array<Slot*, sizeof...(Ops)> slots, Worker& worker,
            Outlet<T> outlet)
      : head_(std::move(head)),
        chain_(std::move(ops), slots, worker, std::move(outlet.output)),
        inlined_(std::move(outlet.inlined)) {}

  void open() override {
    head_.open();
    chain_.open();
    inlined_.open();
  }
  void finish() override {
    chain_.finish();
    inlined_.finish();
  }
  void end(Discard reason) noexcept override {
    head_.end(reason);
    chain_.end();
    inlined_.end(reason);
  }
  [[nodiscard]] bool commits() const noexcept override {
    return Head::commits() || Chain::commits() || inlined_.commits();
  }
  void close(bool success) noexcept override {
    chain_.close(success);
    inlined_.close(success);
  }
  void close_source(bool success) noexcept override { head_.close(success); }

 protected:
  using Chain = Chained<decltype(Outlet<T>::output), Ops...>;

  [[nodiscard]] bool ended() const noexcept { return chain_.stopped() || chain_.output().unwanted(); }

  Head head_;
  Chain chain_;
  InlineReplicas inlined_;
};

/// A replica with a thread of its own: it takes records from a source or from rings.
template <typename Head, typename T, typename... Ops>
class FusedReplica final : public FusedBase<Head, T, Ops...> {
 public:
  using FusedBase<Head, T, Ops...>::FusedBase;

  Replica::Step step(std::size_t limit) override {
    auto& chain = this->chain_;
    if (this->ended()) return this->head_.swallow();
    if constexpr (kAsync) chain.take_answers(false);
    const Replica::Step done = chain.batch([&](Loop& loop, auto&& emit) __attribute__((always_inline)) {
      return this->head_.step(limit, loop, emit);
    });
    if constexpr (kAsync) {
      if (done == Replica::Step::ended) chain.take_answers(true);
    }
    chain.output().flush();
    if constexpr (kAsync) chain.settle();
    this->head_.settle();
    return this->ended() && !this->head_.swallows() ? Replica::Step::ended : done;
  }
  [[nodiscard]] bool ready() const override {
    if constexpr (kAsync) {
      if (this->chain_.has_answers()) return true;
    }
    return this->head_.ready();
  }

 private:
  static constexpr bool kAsync = FusedBase<Head, T, Ops...>::Chain::kAsync;
};

/// A replica on the thread of the stage before it.
template <typename In, typename T, typename... Ops>
class FusedReplica<InlineHead<In>, T, Ops...> final : public FusedBase<InlineHead<In>, T, Ops...> {
 public:
  using FusedBase<InlineHead<In>, T, Ops...>::FusedBase;

  void consume(std::span<In> records) override {
    this->chain_.batch([&](Loop& loop, auto&& emit) __attribute__((always_inline)) {
      this->head_.consume(records, loop, emit);
      return true;
    });
    this->chain_.output().flush();
  }
  [[nodiscard]] bool done() const noexcept override { return this->ended(); }
  Replica::Step step(std::size_t) override { return Replica::Step::idle; }
  [[nodiscard]] bool ready() const override { return false; }
};

}  // namespace ebb::flow
