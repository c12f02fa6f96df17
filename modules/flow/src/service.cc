#include "ebb/flow/service.h"

#include <algorithm>

#include "ebb/flow/runtime/made.h"

namespace ebb::flow {
namespace {

constexpr int kMostSlots = 1 << 16;
constexpr std::size_t kMostQueued = 100'000;

std::exception_ptr stopped(const std::string& name) {
  return made_error<ServiceStopped>("service '" + name + "' is not up");
}

}  // namespace

ServiceBase::ServiceBase(ServiceSpec spec, int default_slots)
    : spec_(std::move(spec)), slots_(static_cast<Word>(spec_.slots.value_or(default_slots))) {
  if (spec_.slots && (*spec_.slots < 1 || *spec_.slots > kMostSlots)) {
    throw std::invalid_argument("ebb: concurrency of service '" + spec_.name + "' must be 1 to " +
                                std::to_string(kMostSlots));
  }
}

// ---- calls

ServiceBase::Entry ServiceBase::try_enter(bool inside) noexcept {
  const Word closed = inside ? kNoneFromInside : kNoneFromOutside;
  const Word more = kInSlot + (inside ? 0 : kFromOutside);
  Word state = state_.load(std::memory_order_seq_cst);
  do {
    if ((state & closed) != 0) return Entry::closed;
    if ((state & kCount) >= slots_) return Entry::full;
  } while (!state_.compare_exchange_weak(state, state + more, std::memory_order_seq_cst));
  return Entry::entered;
}

// For a call that was let in before.
bool ServiceBase::try_take_slot() noexcept {
  Word state = state_.load(std::memory_order_seq_cst);
  do {
    if ((state & kCount) >= slots_) return false;
  } while (!state_.compare_exchange_weak(state, state + kInSlot, std::memory_order_seq_cst));
  return true;
}

void ServiceBase::enter(Worker* worker, bool inside) {
  if (try_enter(inside) != Entry::entered) wait_for_slot(worker, inside);
}

void ServiceBase::give_back(bool inside) noexcept {
  state_.fetch_sub(kInSlot + (inside ? 0 : kFromOutside), std::memory_order_seq_cst);
}

void ServiceBase::leave(const Call& call) noexcept {
  took_.add_shared(std::chrono::steady_clock::now() - call.begun_);
  leave(call.inside());
}

void ServiceBase::leave(bool inside) noexcept {
  give_back(inside);
  if (waiting_.load(std::memory_order_seq_cst) != 0) hand_out();
}

// Threads and calls that wait take turns. A thread whose turn it is may have given up, or find that another
// one was faster: whichever it is, it comes through here again.
void ServiceBase::hand_out() noexcept {
  while (const std::shared_ptr<Call> call = next_with_slot()) {
    calls_.fetch_add(1, std::memory_order_relaxed);
    call->begun_ = std::chrono::steady_clock::now();
    if (!call->begin()) give_back(call->inside());
  }
}

std::shared_ptr<Call> ServiceBase::next_with_slot() noexcept {
  const std::lock_guard lock(mutex_);
  if (closer_ != nullptr) closer_->wake();
  for (Parker* waiter : waiters_) waiter->wake();
  threads_turn_ = !threads_turn_ && !waiters_.empty();
  if (threads_turn_ || queue_.empty() || !try_take_slot()) return nullptr;
  std::shared_ptr<Call> call = std::move(queue_.front());
  queue_.pop_front();
  call->queued_.reset();
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  return call;
}

void ServiceBase::wait_for_slot(Worker* worker, bool inside) {
  Parker own;
  Parker& parker = worker != nullptr ? worker->parker() : own;
  {
    const std::lock_guard lock(mutex_);
    waiters_.push_back(&parker);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }
  Entry entry = Entry::full;
  const auto ready = [&] {
    if (entry == Entry::full) entry = try_enter(inside);
    return entry != Entry::full;
  };
  const auto deadline =
      spec_.slot_timeout ? std::optional(BootClock::now() + *spec_.slot_timeout) : std::nullopt;
  {
    const Pool::Waits waits;
    if (worker == nullptr) {
      if (deadline) {
        (void)parker.wait_until(*deadline, ready);
      } else {
        parker.wait(ready);
      }
    } else if (deadline) {
      worker->wait_until(*deadline, Doing::calling, &spec_.name, ready);
    } else {
      worker->wait(Doing::calling, &spec_.name, ready);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &parker));
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
  }
  // It may have been its turn though it did not need it.
  if (waiting_.load(std::memory_order_seq_cst) != 0) hand_out();
  if (entry == Entry::entered) return;
  if (entry == Entry::closed) std::rethrow_exception(stopped(spec_.name));
  if (worker != nullptr && worker->run().halted()) {
    throw ServiceStopped("the pipeline was ended while this waited for service '" + spec_.name + "'");
  }
  count_timeout();
  throw ServiceTimeout("service '" + spec_.name + "' had no free slot in time");
}

void ServiceBase::ask(const std::shared_ptr<Call>& call, bool inside, std::optional<Duration> limit) {
  inside = inside || (pool_ && pool_->inside());
  call->inside_ = inside;
  const Word closed = inside ? kNoneFromInside : kNoneFromOutside;
  {
    const std::lock_guard lock(mutex_);
    // Under the mutex, so that whoever closes finds it in the queue.
    if ((state_.load(std::memory_order_seq_cst) & closed) != 0) std::rethrow_exception(stopped(spec_.name));
    if (queue_.size() >= kMostQueued) {
      throw std::length_error("ebb: " + std::to_string(kMostQueued) + " calls wait for service '" +
                              spec_.name + "' already; wait for some of them");
    }
    call->queued_ = queue_.insert(queue_.end(), call);
    if (!inside) state_.fetch_add(kFromOutside, std::memory_order_seq_cst);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }
  if (limit) pool_->watch(call, BootClock::now() + *limit);
  hand_out();
}

bool ServiceBase::withdraw(Call& call) noexcept {
  const std::lock_guard lock(mutex_);
  const auto at = std::exchange(call.queued_, std::nullopt);
  if (!at) return false;
  queue_.erase(*at);
  if (!call.inside_) state_.fetch_sub(kFromOutside, std::memory_order_seq_cst);
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  if (closer_ != nullptr) closer_->wake();
  return true;
}

// ---- its life

void ServiceBase::open() noexcept { state_.fetch_and(~(kNoneFromOutside | kNoneFromInside)); }

// Those that wait look again.
void ServiceBase::close(Word whom) noexcept {
  state_.fetch_or(whom, std::memory_order_seq_cst);
  const std::lock_guard lock(mutex_);
  for (Parker* waiter : waiters_) waiter->wake();
}

void ServiceBase::close_outside(bool drop) noexcept {
  close(kNoneFromOutside);
  std::vector<std::shared_ptr<Call>> dropped;
  if (drop) {
    const std::lock_guard lock(mutex_);
    std::copy_if(queue_.begin(), queue_.end(), std::back_inserter(dropped),
                 [](const auto& call) { return !call->inside_; });
  }
  for (const auto& call : dropped) {
    withdraw(*call);
    call->give_up(stopped(spec_.name));
  }
}

void ServiceBase::close_inside() noexcept { close(kNoneFromInside); }

template <typename Gone>
bool ServiceBase::await(BootTime deadline, Gone&& gone) {
  Parker own;
  {
    const std::lock_guard lock(mutex_);
    closer_ = &own;
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }
  const bool all = own.wait_until(deadline, [&] { return gone(state_.load(std::memory_order_seq_cst)); });
  const std::lock_guard lock(mutex_);
  closer_ = nullptr;
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  return all;
}

bool ServiceBase::await_outside(BootTime deadline) {
  return await(deadline, [](Word state) { return (state & (kCount * kFromOutside)) == 0; });
}
bool ServiceBase::await_all(BootTime deadline) {
  return await(deadline, [](Word state) { return (state & ~(kNoneFromOutside | kNoneFromInside)) == 0; });
}

}  // namespace ebb::flow
