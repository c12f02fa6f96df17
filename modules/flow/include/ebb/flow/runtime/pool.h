#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "ebb/base/clock.h"

namespace ebb::flow {

class Task;
using Watched = std::multimap<BootTime, std::shared_ptr<Task>>;

/// Something that a pool runs.
class Task {
 public:
  Task() = default;
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  /// On a thread of the pool's.
  virtual void run() noexcept = 0;
  /// In place of run(), where the pool is closed before.
  virtual void drop() noexcept = 0;
  /// The time for which it was watched has come.
  virtual void expire() noexcept = 0;

 private:
  friend class Pool;
  std::optional<Watched::iterator> watched_;  // under the pool's mutex
};

/// The threads on which a run's calls to services work that are not made on the caller's own: made when they
/// are first needed, parked when there is nothing to do, and no more than `most` of them at work. One that
/// waits for another call does not count, else calls that wait for calls could take all of them, for ever.
/// Any thread.
class Pool : public std::enable_shared_from_this<Pool> {
 public:
  /// `around`: the pool of the run in which this one's pipeline is a service, or null.
  explicit Pool(int most, std::shared_ptr<const Pool> around = nullptr)
      : most_(most), around_(std::move(around)) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// False where it has no thread for it: it is closed, or the machine gives none.
  [[nodiscard]] bool run(std::shared_ptr<Task> task) noexcept;
  /// Calls expire() at that time, unless unwatch() comes before it.
  void watch(const std::shared_ptr<Task>& task, BootTime deadline);
  void unwatch(Task& task) noexcept;
  /// Ends its threads; those that are at work are left behind, with what they run and with the pool.
  void close() noexcept;

  /// While this thread, where it is one of a pool's, waits for what another one brings.
  class Waits {
   public:
    Waits() noexcept;
    ~Waits();
    Waits(const Waits&) = delete;
    Waits& operator=(const Waits&) = delete;

   private:
    Pool* pool_;
  };

  /// While this thread runs code of a service of this pool's run: a method, a hook, or an operator of a
  /// pipeline that is one.
  class Inside {
   public:
    explicit Inside(const Pool* pool) noexcept : before_(now_inside) { now_inside = pool; }
    ~Inside() { now_inside = before_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    const Pool* before_;
  };
  [[nodiscard]] bool inside() const noexcept {
    const Pool* pool = now_inside;
    while (pool != nullptr && pool != this) pool = pool->around_.get();
    return pool == this;
  }

 private:
  struct Member {
    std::thread thread;
    bool works = false;
  };
  void work(Member& member);
  void keep_time();
  bool hire() noexcept;

  inline static thread_local const Pool* now_inside = nullptr;

  const int most_;
  const std::shared_ptr<const Pool> around_;
  std::mutex mutex_;
  std::condition_variable work_, time_;
  std::deque<std::shared_ptr<Task>> tasks_;
  std::list<Member> members_;
  int idle_ = 0, waiting_ = 0;  // of the members
  bool closed_ = false;
  Watched watched_;
  std::thread timer_;
};

}  // namespace ebb::flow
