#include "writer.h"

#include <pthread.h>
#include <algorithm>
#include <csignal>

namespace ebb::store {
namespace {

constexpr std::size_t kLargestGroup = 1'024;
// Of 4 KiB. The log is folded into the database when there is nothing else to do, and at the latest here.
constexpr int kLogPagesWhenIdle = 1'000;
constexpr int kLogPagesAtMost = 8'000;

}  // namespace

Writer::Writer(Connection connection, Applier applier)
    : connection_(std::move(connection)), applier_(std::move(applier)) {
  // Signals are the business of the thread that waits for them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Writer::commit(Batch batch, Done done) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({std::move(batch), std::move(done)});
  }
  wake_.notify_one();
}

void Writer::work() {
  sqlite3_wal_hook(
      connection_.get(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<Writer*>(self)->log_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  for (;;) {
    Group group;
    bool idle = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      while (!waiting_.empty() && group.size() < kLargestGroup) {
        group.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
      }
    }
    const Outcomes outcomes = write(group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (group[i].done) group[i].done(outcomes[i]);
    }
    {
      const std::lock_guard lock(mutex_);
      idle = waiting_.empty();
    }
    checkpoint(idle);
  }
}

Writer::Outcomes Writer::write(const Group& group) {
  Outcomes outcomes(group.size());
  std::optional<Failure> failure;
  if (broken_) {
    failure = Failure{*broken_, Severity::fatal};
  } else {
    // Nearly always every batch is fine, so savepoints, which cost, are set only after one was not.
    failure = transaction(group, outcomes, false);
    if (failure && failure->severity == Severity::batch && group.size() > 1) {
      failure = transaction(group, outcomes, true);
    }
  }
  if (!failure) return outcomes;
  const bool fatal = failure->severity == Severity::fatal;
  if (fatal) broken_ = failure->error;
  for (Store::Outcome& outcome : outcomes) outcome = {.result = failure->error, .fatal = fatal};
  return outcomes;
}

std::optional<Writer::Failure> Writer::transaction(const Group& group, Outcomes& outcomes, bool careful) {
  auto failure = execute("BEGIN IMMEDIATE");
  for (std::size_t i = 0; i < group.size() && !failure; ++i) {
    if (careful) failure = execute("SAVEPOINT batch");
    if (!failure) failure = apply(group[i].batch);
    if (!careful) continue;
    if (failure && failure->severity == Severity::batch) {
      outcomes[i].result = std::move(failure->error);
      applier_.forget();
      failure = execute("ROLLBACK TO batch");
    }
    if (!failure) failure = execute("RELEASE batch");
  }
  if (!failure) failure = execute("COMMIT");
  if (failure) roll_back();
  return failure;
}

std::optional<Writer::Failure> Writer::apply(const Batch& batch) {
  for (const Write& write : batch) {
    if (auto applied = applier_.apply(write); !applied) {
      return Failure{std::move(applied).error(), connection_.severity()};
    }
  }
  return std::nullopt;
}

std::optional<Writer::Failure> Writer::execute(const char* sql) {
  auto done = connection_.execute(sql);
  if (done) return std::nullopt;
  return Failure{std::move(done).error(), connection_.severity()};
}

void Writer::roll_back() {
  applier_.forget();
  // Some failures (a full disk) have ended the transaction by themselves.
  if (sqlite3_get_autocommit(connection_.get()) == 0) {
    sqlite3_exec(connection_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

void Writer::checkpoint(bool idle) {
  if (broken_ || log_pages_ < (idle ? kLogPagesWhenIdle : kLogPagesAtMost)) return;
  log_pages_ = 0;  // the next commit counts anew
  if (sqlite3_wal_checkpoint_v2(connection_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr) ==
      SQLITE_OK) {
    return;
  }
  // Without room the log just stays; what it holds is safe. But after a failed fsync nothing is known.
  if (connection_.severity() == Severity::fatal) broken_ = connection_.error();
}

}  // namespace ebb::store
