#include "ebb/flow/runtime/pool.h"

#include <utility>
#include <vector>

#include "ebb/flow/runtime/parker.h"
#include "thread_name.h"

namespace ebb::flow {
namespace {

thread_local Pool* this_threads_pool = nullptr;

}  // namespace

// Under the mutex. Whether there is one more.
bool Pool::hire() noexcept {
  try {
    Member& member = members_.emplace_back();
    try {
      member.thread = std::thread([self = shared_from_this(), &member] {
        name_thread("ebb-calls");
        this_threads_pool = self.get();
        self->work(member);
      });
      return true;
    } catch (...) {
      members_.pop_back();
      throw;
    }
  } catch (...) {  // memory, or a limit of the machine's
    return false;
  }
}

bool Pool::run(std::shared_ptr<Task> task) noexcept {
  const std::lock_guard lock(mutex_);
  const int there = static_cast<int>(members_.size()) - waiting_;
  const bool needs_one = idle_ <= static_cast<int>(tasks_.size()) && there < most_;
  if (closed_ || !((needs_one && hire()) || !members_.empty())) return false;
  tasks_.push_back(std::move(task));
  work_.notify_one();
  return true;
}

void Pool::work(Member& member) {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    // Not more than may be at work, though others have come back from their waits.
    work_.wait(lock, [this] {
      const int at_work = static_cast<int>(members_.size()) - idle_ - waiting_;
      return closed_ || (!tasks_.empty() && at_work < most_);
    });
    --idle_;
    if (closed_) return;
    member.works = true;
    std::shared_ptr<Task> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    {
      const CountedThread counted;
      task->run();
      task.reset();
    }
    lock.lock();
    member.works = false;
  }
}

void Pool::watch(const std::shared_ptr<Task>& task, BootTime deadline) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (!timer_.joinable()) {
    timer_ = std::thread([this] {
      name_thread("ebb-deadlines");
      keep_time();
    });
  }
  const auto at = watched_.emplace(deadline, task);
  task->watched_ = at;
  if (at == watched_.begin()) time_.notify_one();
}

void Pool::unwatch(Task& task) noexcept {
  const std::lock_guard lock(mutex_);
  if (const auto at = std::exchange(task.watched_, std::nullopt)) watched_.erase(*at);
}

void Pool::keep_time() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    if (watched_.empty()) {
      time_.wait(lock);
      continue;
    }
    const auto first = watched_.begin();
    const auto left = first->first - BootClock::now();
    if (left > Duration::zero()) {
      time_.wait_for(lock, left);
      continue;
    }
    std::shared_ptr<Task> task = std::move(first->second);
    task->watched_.reset();
    watched_.erase(first);
    lock.unlock();
    task->expire();
    task.reset();
    lock.lock();
  }
}

void Pool::close() noexcept {
  std::vector<std::thread> over;
  std::deque<std::shared_ptr<Task>> left;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    left.swap(tasks_);
    for (auto& [deadline, task] : watched_) task->watched_.reset();
    watched_.clear();
    for (Member& member : members_) {
      if (member.works) {
        member.thread.detach();
      } else {
        over.push_back(std::move(member.thread));
      }
    }
    if (timer_.joinable()) over.push_back(std::move(timer_));
    work_.notify_all();
    time_.notify_all();
  }
  for (const auto& task : left) task->drop();
  for (std::thread& thread : over) thread.join();
}

Pool::Waits::Waits() noexcept : pool_(this_threads_pool) {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  ++pool_->waiting_;
  if (pool_->tasks_.empty()) return;
  if (pool_->idle_ > 0) {
    pool_->work_.notify_one();
  } else if (!pool_->closed_) {
    (void)pool_->hire();  // without one, it goes on when another comes back
  }
}

Pool::Waits::~Waits() {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  --pool_->waiting_;
}

}  // namespace ebb::flow
