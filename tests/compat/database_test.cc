// A database of every version that was ever released must open, and hold what it held.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <future>

#include "ebb/store/store.h"
#include "rows.h"

namespace ebb::store {
namespace {

namespace fs = std::filesystem;
using model::JobState;

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "ebb-compat-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path path;
};

void expect_all_rows(const Store& store) {
  const auto queued = store.job(kQueued);
  ASSERT_TRUE(queued && *queued) << (queued ? "not there" : queued.error().message);
  const Batch rows = all_rows();
  const JobRow& row = std::get<write::AddJob>(rows.front()).job;
  EXPECT_EQ((*queued)->row.spec, row.spec);
  EXPECT_EQ((*queued)->row.surroundings, row.surroundings);
  EXPECT_EQ((*queued)->row.origin, row.origin);
  EXPECT_EQ((*queued)->row.server_url, row.server_url);
  EXPECT_EQ((*queued)->row.submitted_at, row.submitted_at);
  EXPECT_EQ((*queued)->state, JobState::queued);

  const auto running = store.job(kRunning);
  ASSERT_TRUE(running && *running && (*running)->attempt);
  EXPECT_EQ((*running)->state, JobState::running);
  EXPECT_EQ((*running)->attempt->gpus, (std::vector<int>{0, 1}));
  EXPECT_EQ((*running)->attempt->ports, (std::vector<int>{38001}));
  EXPECT_EQ((*running)->attempt->memory_bytes, 4096);
  EXPECT_EQ((*running)->attempt->pid, 4242);
  EXPECT_EQ((*running)->attempt->started_at, moment(10));
  EXPECT_EQ((*running)->attempt->tier, "cgroup+pidns");

  const auto ended = store.job(kEnded);
  ASSERT_TRUE(ended && *ended && (*ended)->report);
  EXPECT_EQ((*ended)->state, JobState::cancelled);
  EXPECT_EQ((*ended)->report->reason.detail, "SIGINT");
  EXPECT_EQ((*ended)->report->released_at, moment(30));
  EXPECT_EQ((*ended)->report->releases.size(), 1U);
  EXPECT_EQ((*ended)->attempt->exit.signal, 15);

  EXPECT_EQ(*store.last_job_seq(), 3);
  EXPECT_EQ(*store.last_event_seq(), 5);
  EXPECT_EQ(store.events_after(0, 10)->front().type, "job.ended");
  EXPECT_EQ((*store.idempotent("alice", "k", moment(0)))->job, kQueued);
  EXPECT_EQ(store.quarantined()->front().gpu, 3);
  EXPECT_EQ((*store.user_by_key_hash("00ff"))->user.name, "alice");
  EXPECT_EQ(*store.value("gpu-baselines"), "{}");
}

TEST(SavedDatabase, OfEveryVersionOpensAndHoldsWhatItHeld) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(EBB_DATABASES)) {
    if (entry.path().extension() != ".db") continue;
    SCOPED_TRACE(entry.path().filename());
    const Folder folder;
    fs::copy_file(entry.path(), folder.path / "ebb.db");
    fs::permissions(folder.path / "ebb.db", fs::perms::owner_read | fs::perms::owner_write);
    auto store = Store::open(folder.path);
    ASSERT_TRUE(store) << store.error().message;
    expect_all_rows(*store);
    std::promise<bool> promise;
    store->commit({write::AddJob{job(JobId(0x12345678U), 4)}},
                  [&](const Store::Outcome& outcome) { promise.set_value(outcome.result.ok()); });
    EXPECT_TRUE(promise.get_future().get()) << "it must go on from there";
    ++count;
  }
  EXPECT_GE(count, 1);
}

TEST(SavedDatabase, IsWhatTheProgramThatMakesItWrites) {
  const Folder folder;
  ASSERT_EQ(std::system((std::string(EBB_MAKE_DATABASE) + " " + folder.path.string()).c_str()), 0);
  auto store = Store::open(folder.path);
  ASSERT_TRUE(store) << store.error().message;
  expect_all_rows(*store);
}

}  // namespace
}  // namespace ebb::store
