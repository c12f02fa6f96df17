#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ebb/flow/runtime/heads.h"
#include "ebb/flow/runtime/service_base.h"

/// How the answers of a pipeline that is a service find their callers: each record carries a ticket, which
/// all records that come from one request share. The first that arrives at the sink answers; when the last is
/// gone without an answer, the ticket says to the caller what became of it.
namespace ebb::flow {

/// A caller's claim, without the type of its answer. Any thread.
class TicketBase : public std::enable_shared_from_this<TicketBase> {
 public:
  TicketBase() = default;
  virtual ~TicketBase() = default;
  TicketBase(const TicketBase&) = delete;
  TicketBase& operator=(const TicketBase&) = delete;

  /// What has become of a record of it, in case that no other one answers: what a function threw, which goes
  /// before all else, or words.
  void note(std::exception_ptr error) noexcept;
  void note(const char* what, const std::string& at) noexcept;
  /// No answer will come: where nothing else is known of it, for this reason.
  virtual void end(std::exception_ptr reason) noexcept = 0;

 protected:
  /// What was noted of it, as an exception, which is the caller's then; null where nothing was.
  [[nodiscard]] std::exception_ptr fate(const std::string& service);

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
  std::string words_;
};

/// The requests that have come to a pipeline and are not answered yet, whatever their type. Any thread.
class InboxBase {
 public:
  explicit InboxBase(ServiceBase& service) : service_(&service) {}
  virtual ~InboxBase() = default;
  InboxBase(const InboxBase&) = delete;
  InboxBase& operator=(const InboxBase&) = delete;

  [[nodiscard]] ServiceBase& service() const noexcept { return *service_; }
  /// No request follows: the source ends when it has given those that are there.
  void close() noexcept;
  /// Until the source has ended; whether it has by then.
  bool wait_for_end(BootTime deadline);
  /// The pipeline has ended, and how: whatever was not answered never will be, nor what still comes.
  void end(const std::string& how) noexcept;
  /// Once for each ticket, when it is over.
  void leave(TicketBase& ticket, const Call& call) noexcept;
  /// What a ticket says of which nothing is known.
  [[nodiscard]] std::exception_ptr unanswered(const std::string& why) const;

 protected:
  /// Of a pipeline that has ended. An error for each caller: no other thread has a part in it.
  [[nodiscard]] std::exception_ptr not_up() const;

  std::mutex mutex_;
  std::condition_variable_any news_;
  bool closed_ = false, source_ended_ = false;
  std::optional<std::string> how_it_ended_;
  std::unordered_map<TicketBase*, std::weak_ptr<TicketBase>> open_;

 private:
  ServiceBase* service_;
};

template <typename Answer>
class Ticket final : public TicketBase {
 public:
  Ticket(std::shared_ptr<InboxBase> inbox, std::shared_ptr<CallFor<Answer>> call)
      : inbox_(std::move(inbox)), call_(std::move(call)) {}
  ~Ticket() override {
    if (!over_.load()) Ticket::end(inbox_->unanswered("it was dropped on its way"));
  }

  void answer(Answer value) noexcept {
    if (over_.exchange(true)) return;
    call_->succeed(std::move(value));
    leave();
  }
  void end(std::exception_ptr reason) noexcept override {
    if (over_.exchange(true)) return;
    if (auto known = fate(inbox_->service().name())) reason = std::move(known);
    call_->fail(std::move(reason));
    leave();
  }

 private:
  // Its call, which keeps the service, goes with it: records may lie in the pipeline for as long as that
  // lives.
  void leave() noexcept {
    const auto call = std::move(call_);
    inbox_->service().pool()->unwatch(*call);
    inbox_->leave(*this, *call);
  }

  std::shared_ptr<InboxBase> inbox_;
  std::shared_ptr<CallFor<Answer>> call_;
  std::atomic<bool> over_{false};
};

/// A record of a pipeline that is a service.
template <typename T, typename Answer>
struct Ticketed {
  using Value = T;
  /// Taken from a record that is over, though an operator only lends it.
  mutable std::shared_ptr<Ticket<Answer>> ticket;
  T value;
};

/// The source of such a pipeline.
template <typename Request, typename Answer>
class Inbox final : public InboxBase, public std::enable_shared_from_this<Inbox<Request, Answer>> {
 public:
  using InboxBase::InboxBase;
  using Record = Ticketed<Request, Answer>;

  /// Null, or, where the pipeline has ended and nothing was done, how.
  [[nodiscard]] std::exception_ptr put(std::shared_ptr<CallFor<Answer>> call, Request& request) {
    const std::lock_guard lock(mutex_);
    if (how_it_ended_) return not_up();
    auto ticket = std::make_shared<Ticket<Answer>>(this->shared_from_this(), std::move(call));
    open_.emplace(ticket.get(), ticket);
    waiting_.push_back({std::move(ticket), std::move(request)});
    news_.notify_all();
    return nullptr;
  }
  std::optional<Record> next(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    news_.wait(lock, stop, [&] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty() || stop.stop_requested()) {
      source_ended_ = true;
      news_.notify_all();
      return std::nullopt;
    }
    std::optional<Record> record(std::move(waiting_.front()));
    waiting_.pop_front();
    return record;
  }

 private:
  std::deque<Record> waiting_;
};

/// As the source's function.
template <typename Request, typename Answer>
struct TakeRequests {
  std::shared_ptr<Inbox<Request, Answer>> inbox;
  std::optional<Ticketed<Request, Answer>> operator()(const std::stop_token& stop) {
    return inbox->next(stop);
  }
};

// The user's functions, as the operators of such a pipeline call them.

template <typename F>
struct OnRequest {
  F function;

  void open(Context& context)
    requires requires(F& f, Context& c) { f.open(c); } || requires(F& f) { f.open(); }
  {
    open_function(function, context);
  }
  void close()
    requires requires(F& f) { f.close(); }
  {
    function.close();
  }

  /// What the user's function throws is told to the caller.
  template <typename Answer>
  static decltype(auto) telling(Ticket<Answer>& ticket, auto&& body) {
    try {
      return body();
    } catch (...) {
      ticket.note(std::current_exception());
      throw;
    }
  }
};

template <typename F, typename Answer>
struct MapRequest : OnRequest<F> {
  template <typename T>
    requires Takes<F, T>
  auto operator()(Ticketed<T, Answer>&& lent, Context& context) {
    Ticketed<T, Answer> record(std::move(lent));  // so that it is gone when the function has thrown
    using U = std::remove_cvref_t<ResultOf<F, T>>;
    return this->telling(*record.ticket, [&] {
      U value = call(this->function, context, std::move(record.value));
      return Ticketed<U, Answer>{std::move(record.ticket), std::move(value)};
    });
  }
  template <typename T>
    requires Takes<F, const T&>
  auto operator()(const Ticketed<T, Answer>& record, Context& context) {
    using U = std::remove_cvref_t<ResultOf<F, const T&>>;
    return this->telling(*record.ticket, [&] {
      U value = call(this->function, context, record.value);
      return Ticketed<U, Answer>{std::move(record.ticket), std::move(value)};
    });
  }
};

template <typename F, typename Answer>
struct FilterRequest : OnRequest<F> {
  template <typename T>
    requires Takes<F, const T&>
  bool operator()(const Ticketed<T, Answer>& record, Context& context) {
    return this->telling(*record.ticket, [&] {
      const bool passes = static_cast<bool>(call(this->function, context, record.value));
      if (!passes) {
        record.ticket->note("was filtered out by", context.name());
        record.ticket.reset();
      }
      return passes;
    });
  }
};

template <typename U, typename F, typename Answer>
struct ExpandRequest : OnRequest<F> {
  template <typename T, typename Emit>
  void operator()(const Ticketed<T, Answer>& record, const Emit& emit, Context& context) {
    const auto ticket = record.ticket;
    this->telling(*ticket, [&] {
      const auto give = [&](U value) { emit(Ticketed<U, Answer>{ticket, std::move(value)}); };
      if constexpr (Takes<F, const T&, decltype(give)&>) {
        call(this->function, context, record.value, give);
      } else {
        Collector<U> gathered;
        call(this->function, context, record.value, gathered);
        for (U& value : gathered.records()) give(std::move(value));
      }
      ticket->note("was given no answer by", context.name());
      record.ticket.reset();
    });
  }
};

}  // namespace ebb::flow
