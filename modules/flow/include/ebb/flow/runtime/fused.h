#pragma once

#include <array>
#include <concepts>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/operators.h"
#include "ebb/flow/runtime/output.h"

/// A chain of operators as one loop: from where records come, through each operator's function, to where they
/// go, without a call that the compiler does not see through.
namespace ebb::flow {

template <typename T>
class InlineHead;

/// The functions' own hooks, all optional: open(Context&) or open(), close(), finish(emit) or finish().
template <typename F>
void open_function(F& function, Context& context) {
  if constexpr (requires { function.open(context); }) {
    function.open(context);
  } else if constexpr (requires { function.open(); }) {
    function.open();
  }
}
template <typename F>
void close_function(F& function) {
  if constexpr (requires { function.close(); }) function.close();
}

/// The operators of one replica, their slots, and the output behind them.
template <typename Output, typename... Ops>
class Chained {
 public:
  static constexpr std::size_t kOps = sizeof...(Ops);
  using Hots = std::array<Hot, kOps>;

  Chained(std::tuple<Ops...> ops, std::array<Slot*, kOps> slots, Worker& worker, Output output)
      : ops_(std::move(ops)), slots_(slots), loop_{worker}, output_(std::move(output)) {}

  [[nodiscard]] Loop& loop() noexcept { return loop_; }
  [[nodiscard]] const Loop& loop() const noexcept { return loop_; }
  [[nodiscard]] Output& output() noexcept { return output_; }
  [[nodiscard]] const Output& output() const noexcept { return output_; }

  /// One record through operator I and all that follow.
  template <std::size_t I, typename T>
  [[gnu::always_inline]] void push(T&& record, Hots& hots) {
    if constexpr (I == kOps) {
      if constexpr (!std::same_as<Output, NoOutput>) output_(std::forward<T>(record));
    } else {
      auto& op = std::get<I>(ops_);
      op.apply(std::forward<T>(record), *slots_[I], loop_, hots[I],
               [&](auto&& out) __attribute__((always_inline)) {
                 if constexpr (std::remove_cvref_t<decltype(op)>::kMany) {
                   if (!accepts(I + 1)) return drop(I + 1);
                 }
                 push<I + 1>(std::forward<decltype(out)>(out), hots);
               });
      if constexpr (may_finish<std::remove_cvref_t<decltype(op)>, T>()) note_finished(I);
    }
  }

  /// Adds what a batch has counted to what everybody can read.
  void settle(const Hots& hots) noexcept {
    for (std::size_t i = 0; i < kOps; ++i) {
      Counts& counts = slots_[i]->counts;
      if (hots[i].in != 0) Counts::add(counts.in, hots[i].in);
      if (hots[i].processed != 0) Counts::add(counts.processed, hots[i].processed);
      if (hots[i].filtered != 0) Counts::add(counts.filtered, hots[i].filtered);
      if (hots[i].emitted != 0) Counts::add(counts.emitted, hots[i].emitted);
    }
    loop_.worker.at = nullptr;
  }

  void open() {
    each([](auto& op, Slot& slot) { open_function(op.function, slot.context); });
    for (std::size_t i = 0; i < kOps; ++i) note_finished(i);
    loop_.worker.at = nullptr;
  }
  void close() noexcept {
    each([&](auto& op, Slot& slot) {
      try {
        close_function(op.function);
      } catch (...) {
        loop_.worker.run().fail(slot.of->name, std::current_exception());
      }
    });
    loop_.worker.at = nullptr;
  }
  /// Lets each operator emit what it holds, from the head to the tail.
  void finish() {
    finishing_ = true;
    loop_.stopped = false;
    finish_from<0>();
    output_.flush();
  }

 private:
  template <typename Do>
  void each(Do&& action) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (..., (loop_.worker.at = slots_[I]->of, action(std::get<I>(ops_), *slots_[I])));
    }(std::make_index_sequence<kOps>());
  }

  template <std::size_t I>
  void finish_from() {
    if constexpr (I < kOps) {
      auto& op = std::get<I>(ops_);
      Hots hots{};
      const auto next = [&](auto&& out) {
        if (!accepts(I + 1)) return drop(I + 1);
        push<I + 1>(std::forward<decltype(out)>(out), hots);
      };
      if constexpr (requires { op.finish(*slots_[I], loop_, hots[I], next); }) {
        if (!loop_.worker.run().halted()) {
          try {
            op.finish(*slots_[I], loop_, hots[I], next);
          } catch (...) {  // of the records' own constructors
            loop_.worker.run().fail(slots_[I]->of->name, std::current_exception());
          }
        }
      }
      settle(hots);
      finish_from<I + 1>();
    }
  }

  /// Whether operator `to` (or, past the last, the output) still takes records.
  [[nodiscard]] bool accepts(std::size_t to) const noexcept {
    if (!finishing_) return !loop_.stopped;
    return to >= takes_from_ && !loop_.worker.run().halted();
  }
  [[gnu::cold]] void drop(std::size_t to) {
    const Discard reason =
        loop_.worker.run().halted() ? loop_.worker.run().discard() : Discard::consumer_ended;
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
  void note_finished(std::size_t i) noexcept {
    if (slots_[i]->context.finished()) {
      loop_.stopped = true;
      takes_from_ = std::max(takes_from_, i + 1);
    }
  }

  std::tuple<Ops...> ops_;
  std::array<Slot*, kOps> slots_;
  Loop loop_;
  Output output_;
  bool finishing_ = false;
  std::size_t takes_from_ = 0;  // operators before this one have finished
};

/// What an output leads to, made when a run starts: the replica's own end of every edge, and the replicas
/// that run inline behind it.
template <typename T>
struct Outlet {
  Output<T> output;
  std::vector<std::unique_ptr<Consumer<T>>> inlined;
};
template <>
struct Outlet<void> {
  NoOutput output;
  std::vector<std::unique_ptr<Replica>> inlined;
};

/// A head, the operators behind it, and what runs inline behind those, for every kind of head: what is called
/// for each record stands in the two classes that follow.
template <typename Head, typename T, typename... Ops>
class FusedBase : public Head::Interface {
 public:
  FusedBase(Head head, std::tuple<Ops...> ops, std::array<Slot*, sizeof...(Ops)> slots, Worker& worker,
            Outlet<T> outlet)
      : head_(std::move(head)),
        chain_(std::move(ops), slots, worker, std::move(outlet.output)),
        inlined_(std::move(outlet.inlined)) {}

  void open() override {
    head_.open();
    chain_.open();
    for (auto& behind : inlined_) behind->open();
  }
  void finish() override {
    chain_.finish();
    for (auto& behind : inlined_) behind->finish();
  }
  void end(Discard reason) noexcept override {
    head_.end(reason);
    chain_.output().close();
    for (auto& behind : inlined_) behind->end(reason);
  }
  void close() noexcept override {
    head_.close();
    chain_.close();
    for (auto& behind : inlined_) behind->close();
  }

 protected:
  using Chain = Chained<decltype(Outlet<T>::output), Ops...>;

  // Calls `take(emit)`, where emit sends a record through the chain.
  template <typename Take>
  [[gnu::always_inline]] auto batch(Take&& take) {
    typename Chain::Hots hots{};
    const auto emit = [&](auto&& record) __attribute__((always_inline)) {
      chain_.template push<0>(std::forward<decltype(record)>(record), hots);
    };
    auto done = take(emit);
    chain_.settle(hots);
    chain_.output().flush();
    return done;
  }
  [[nodiscard]] bool ended() const noexcept { return chain_.loop().stopped || chain_.output().unwanted(); }

  Head head_;
  Chain chain_;
  decltype(Outlet<T>::inlined) inlined_;
};

/// A replica with a thread of its own: it takes records from a source or from rings.
template <typename Head, typename T, typename... Ops>
class FusedReplica final : public FusedBase<Head, T, Ops...> {
 public:
  using FusedBase<Head, T, Ops...>::FusedBase;

  Replica::Step step(std::size_t limit) override {
    if (this->ended()) return Replica::Step::ended;
    const Replica::Step done =
        this->batch([&](auto&& emit) { return this->head_.step(limit, this->chain_.loop(), emit); });
    return this->ended() ? Replica::Step::ended : done;
  }
  [[nodiscard]] bool ready() const override { return this->head_.ready(); }
};

/// A replica on the thread of the stage before it.
template <typename In, typename T, typename... Ops>
class FusedReplica<InlineHead<In>, T, Ops...> final : public FusedBase<InlineHead<In>, T, Ops...> {
 public:
  using FusedBase<InlineHead<In>, T, Ops...>::FusedBase;

  void consume(std::span<In> records) override {
    this->batch([&](auto&& emit) {
      this->head_.consume(records, this->chain_.loop(), emit);
      return true;
    });
  }
  [[nodiscard]] bool done() const noexcept override { return this->ended(); }
  Replica::Step step(std::size_t) override { return Replica::Step::idle; }
  [[nodiscard]] bool ready() const override { return false; }
};

}  // namespace ebb::flow
