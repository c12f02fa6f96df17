// Disks that are full, slow, broken, or read-only; and a daemon that is killed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <semaphore>

#include "ebb/base/files.h"
#include "scene.h"

namespace ebb::store {
namespace {

// A layer over SQLite's own file system whose fsync can be told to fail or to wait; the rest is the real one.
class Syncs {
 public:
  static Syncs& install() {
    static Syncs syncs;
    return syncs;
  }
  void reset() { mode = Mode::fine; }

  enum class Mode { fine, fail, wait };
  std::atomic<Mode> mode = Mode::fine;
  std::binary_semaphore entered{0};
  std::binary_semaphore go_on{0};

 private:
  Syncs() {
    sqlite3_vfs* real = sqlite3_vfs_find(nullptr);
    vfs_ = *real;
    vfs_.zName = "ebb-test-syncs";
    real_open_ = real->xOpen;
    vfs_.xOpen = [](sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
      Syncs& self = install();
      const int status = self.real_open_(vfs, name, file, flags, out);
      if (status != SQLITE_OK) return status;
      file->pMethods = self.patched(file->pMethods);
      return status;
    };
    sqlite3_vfs_register(&vfs_, 1);
  }

  // The log and the database have different methods, so each set that turns up gets a copy of its own.
  const sqlite3_io_methods* patched(const sqlite3_io_methods* real) {
    const std::lock_guard lock(mutex_);
    const auto known = copies_.find(real);
    if (known != copies_.end()) return &known->second;
    real_sync_ = real->xSync;  // the same one in all of them
    sqlite3_io_methods& copy = copies_.emplace(real, *real).first->second;
    copy.xSync = [](sqlite3_file* file, int how) {
      Syncs& syncs = install();
      if (syncs.mode == Mode::fail) return SQLITE_IOERR_FSYNC;
      if (syncs.mode == Mode::wait) {
        syncs.entered.release();
        syncs.go_on.acquire();
      }
      return syncs.real_sync_(file, how);
    };
    return &copy;
  }

  sqlite3_vfs vfs_{};
  int (*real_open_)(sqlite3_vfs*, const char*, sqlite3_file*, int, int*) = nullptr;
  int (*real_sync_)(sqlite3_file*, int) = nullptr;
  std::mutex mutex_;
  std::map<const sqlite3_io_methods*, sqlite3_io_methods> copies_;
};

TEST(Disk, AFailedFsyncIsFinal) {
  Syncs& syncs = Syncs::install();
  const TemporaryFolder folder;
  {
    Store store = open_store(folder.path());
    expect_committed(store, {write::AddJob{job_row(1)}});
    syncs.mode = Syncs::Mode::fail;
    const Store::Outcome failed = commit(store, {write::AddJob{job_row(2)}});
    syncs.reset();
    ASSERT_FALSE(failed.result);
    EXPECT_TRUE(failed.fatal);
    EXPECT_EQ(failed.result.error().code, Errc::io);
    // The disk would work again, but nobody knows what the failed one left: nothing more is written.
    const Store::Outcome after = commit(store, {write::AddJob{job_row(3)}});
    EXPECT_TRUE(after.fatal);
    EXPECT_FALSE(after.result);
    EXPECT_TRUE(*store.known(id_of(1)));
    EXPECT_FALSE(*store.known(id_of(2)));
  }
  Store store = open_store(folder.path());
  EXPECT_TRUE(*store.known(id_of(1)));
  EXPECT_FALSE(*store.known(id_of(3)));
}

TEST(Disk, ASlowOneHoldsUpNeitherCallersNorReaders) {
  Syncs& syncs = Syncs::install();
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  expect_committed(store, {write::AddJob{job_row(1)}});
  syncs.mode = Syncs::Mode::wait;
  std::promise<Store::Outcome> first, second;
  store.commit({write::AddJob{job_row(2)}}, [&](Store::Outcome o) { first.set_value(std::move(o)); });
  ASSERT_TRUE(syncs.entered.try_acquire_for(std::chrono::seconds(30))) << "the writer never came to fsync";
  syncs.reset();
  store.commit({write::AddJob{job_row(3)}}, [&](Store::Outcome o) { second.set_value(std::move(o)); });
  EXPECT_TRUE(*store.known(id_of(1)));
  EXPECT_FALSE(*store.known(id_of(2))) << "not on disk yet, so not to be seen";
  EXPECT_EQ(store.jobs({})->size(), 1U);
  auto answer = first.get_future();
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  syncs.go_on.release();
  EXPECT_TRUE(answer.get().result);
  EXPECT_TRUE(second.get_future().get().result);
  EXPECT_EQ(store.jobs({})->size(), 3U);
}

// Runs `scene` in a child with a file system of its own of `size` at `where`; says how that went.
template <typename Scene>
void on_small_disk(const std::filesystem::path& where, const char* size, Scene&& scene) {
  int out[2];
  ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr int kNoNamespace = 77;
    const int flags = CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (::unshare(flags) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", where.c_str(), "tmpfs", 0, (std::string("size=") + size).c_str()) != 0) {
      ::_exit(kNoNamespace);
    }
    const std::string wrong = scene();
    (void)!::write(out[1], wrong.data(), wrong.size());
    ::_exit(wrong.empty() ? 0 : 1);
  }
  ::close(out[1]);
  std::string said(4096, '\0');
  const ssize_t got = ::read(out[0], said.data(), said.size());
  said.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  ::close(out[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no mount namespaces for this user";
  EXPECT_EQ(status, 0) << said;
}

TEST(Disk, AFullOneFailsTheBatchLosesNothingAndWorksAgainWithRoom) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "4m", [&]() -> std::string {
    std::int64_t kept = 0;
    {
      Store store = open_store(folder.path());
      Store::Outcome outcome{.result = {}};
      std::int64_t seq = 0;
      while (outcome.result && seq < 100'000) {
        ++seq;
        // Each has an environment of its own, so that the disk fills quickly.
        JobRow row = job_row(seq);
        row.surroundings.environment.push_back("N=" + std::to_string(seq) + std::string(20'000, 'x'));
        outcome = commit(store, {write::AddJob{row}, event(seq)});
      }
      if (outcome.result) return "the disk never became full";
      if (outcome.fatal) return "a full disk was called fatal: " + outcome.result.error().message;
      if (outcome.result.error().message.find("disk or quota is full") == std::string::npos) {
        return outcome.result.error().message;
      }
      kept = seq - 1;
      if (kept < 10) return "full too early";
      if (*store.last_job_seq() != kept || *store.last_event_seq() != kept)
        return "the failed batch left something";
      // It goes on failing and reading goes on working.
      JobRow large = job_row(seq);
      large.surroundings.environment.push_back(std::string(200'000, 'y'));
      if (commit(store, {write::AddJob{large}}).result) return "written where there is no room";
      const auto listed = store.jobs({});
      if (!listed) return "cannot be read: " + listed.error().message;
      if (std::int64_t(listed->size()) != std::min<std::int64_t>(kept, 100)) return "not all can be read";
      // More room, and the same batch goes through, without a restart.
      if (::mount("none", folder.path().c_str(), "tmpfs", MS_REMOUNT, "size=64m") != 0)
        return "cannot remount";
      const Store::Outcome again = commit(store, {write::AddJob{large}, event(seq)});
      if (!again.result) return "with room: " + again.result.error().message;
      kept = seq;
    }
    Store store = open_store(folder.path());
    std::int64_t count = 0;
    if (!store.each_live_job([&](const JobRecord&) { ++count; })) return "cannot be read after reopening";
    return count == kept ? "" : "jobs lost: " + std::to_string(count) + " of " + std::to_string(kept);
  });
}

TEST(Disk, AFullOneAtTheStartIsAClearError) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "64k", [&]() -> std::string {
    {
      std::ofstream(folder.path() / "filler") << std::string(100'000, 'x');
    }
    auto store = Store::open(folder.path());
    if (store) return "opened without room";
    const std::string& said = store.error().message;
    return said.find("full") != std::string::npos || said.find("No space left") != std::string::npos ? ""
                                                                                                     : said;
  });
}

TEST(Disk, AReadOnlyOneIsAClearError) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "8m", [&]() -> std::string {
    {
      Store store = open_store(folder.path());
    }
    if (::mount("none", folder.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) != 0)
      return "cannot remount";
    auto store = Store::open(folder.path());
    if (store) return "opened read-only";
    return store.error().message.find("Read-only file system") != std::string::npos ? ""
                                                                                    : store.error().message;
  });
}

TEST(Disk, ADatabaseThatMayNotBeWrittenIsAClearError) {
  const TemporaryFolder folder;
  {
    Store store = open_store(folder.path());
  }
  ASSERT_EQ(::chmod(folder.database().c_str(), 0444), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0777), 0);
  std::filesystem::remove(folder.path() / "lock");
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    auto store = Store::open(folder.path());
    ::_exit(!store && store.error().message.find("ebb.db: Permission denied") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// The child commits batches of a job, two events and a value, several at a time, and reports each durable one
// through a pipe until it is killed.
[[noreturn]] void commit_until_killed(const std::filesystem::path& folder, int report) {
  Store store = open_store(folder);
  std::counting_semaphore<> room(32);
  for (std::int64_t seq = *store.last_job_seq() + 1;; ++seq) {
    room.acquire();
    Batch batch{write::AddJob{job_row(seq)}, event(2 * seq), event(2 * seq + 1),
                write::PutValue{"last", std::to_string(seq)}};
    store.commit(std::move(batch), [seq, report, &room](const Store::Outcome& outcome) {
      if (!outcome.result || ::write(report, &seq, sizeof seq) != sizeof seq) ::_exit(1);
      room.release();
    });
  }
}

TEST(Kill, LosesNoBatchThatWasReportedAndLeavesNoneInHalf) {
  constexpr int kRounds = 12;
  const TemporaryFolder folder;
  std::mt19937 random(20261124);
  std::int64_t reported = 0;
  for (int round = 0; round < kRounds; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) commit_until_killed(folder.path(), pipe_ends[1]);
    ::close(pipe_ends[1]);
    const std::int64_t until = reported + std::uniform_int_distribution<std::int64_t>(1, 1500)(random);
    const auto next = [&] {
      std::int64_t seq = 0;
      const bool got = ::read(pipe_ends[0], &seq, sizeof seq) == sizeof seq;
      if (got) {
        EXPECT_EQ(seq, reported + 1) << "batches become durable in their order";
        reported = seq;
      }
      return got;
    };
    while (reported < until && next()) {
    }
    ASSERT_EQ(reported, until) << "the child ended by itself";
    ::kill(child, SIGKILL);
    while (next()) {
    }
    ::close(pipe_ends[0]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);

    Store store = open_store(folder.path());
    const std::int64_t last = *store.last_job_seq();
    EXPECT_GE(last, reported);
    EXPECT_EQ(*store.last_event_seq(), 2 * last + 1);
    EXPECT_EQ(*store.value("last"), std::to_string(last));
    std::int64_t count = 0;
    ASSERT_TRUE(store.each_live_job([&](const JobRecord& record) { EXPECT_EQ(record.row.seq, ++count); }));
    EXPECT_EQ(count, last);
    reported = last;
  }
}

}  // namespace
}  // namespace ebb::store
