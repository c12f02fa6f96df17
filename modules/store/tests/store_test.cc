#include "ebb/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ebb/model/json.h"
#include "scene.h"

namespace ebb::store {
namespace {

using model::JobState;
using model::StopKind;
using testing::ElementsAre;

JobRow full_row() {
  JobRow row = job_row(1);
  row.spec.command = {"a", "", "b c", "\"quoted\"\n", "é"};
  row.spec.gpus = 2;
  row.spec.gpu_ids = {1, 3};
  row.spec.ports = 2;
  row.spec.cpus = 0.5;
  row.spec.memory_bytes = std::int64_t{3} << 40;
  row.spec.time = Duration(123'456'789);
  row.spec.grace = Duration(1);
  row.spec.priority = -1000;
  row.spec.name = "näme";
  row.spec.group = "g";
  row.spec.env = {{"A", "1=2"}, {"B", ""}};
  row.spec.clean_env = true;
  row.spec.workdir = "/data";
  row.spec.ready = model::JobSpec::ReadyCheck{.path = "/health", .timeout = Duration(7)};
  row.spec.owner_lease = Duration(15'000'001);
  row.spec.log_limit_bytes = 4096;
  row.spec.share_ipc = true;
  row.spec.expand = false;
  row.surroundings.uid = 4294967294U;
  row.surroundings.gid = 7;
  row.surroundings.groups = {7, 4294967294U};
  row.surroundings.workdir = "/odd\xff/dir";
  row.surroundings.umask = 077;
  row.surroundings.nice = -5;
  row.surroundings.limits = {{"nofile", 1024}, {"core", ~std::uint64_t{0}}};
  row.surroundings.environment = {"A=1", "", "B=\xff\n=", "=odd"};
  row.origin = "training";
  row.server_url = "http://127.0.0.1:38001";
  row.submitted_at = WallTime(Duration(1'763'900'000'123'456));
  return row;
}

void expect_same(const JobRow& a, const JobRow& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.seq, b.seq);
  EXPECT_EQ(a.user, b.user);
  EXPECT_EQ(a.spec, b.spec);
  EXPECT_EQ(a.surroundings, b.surroundings);
  EXPECT_EQ(a.origin, b.origin);
  EXPECT_EQ(a.server_url, b.server_url);
  EXPECT_EQ(a.submitted_at, b.submitted_at);
}

TEST(Store, KeepsAJobWithEveryFieldSetAndWithNone) {
  const TemporaryFolder folder;
  const JobRow full = full_row();
  JobRow bare;
  bare.id = id_of(2);
  bare.seq = 2;
  {
    Store store = open_store(folder.path());
    expect_committed(store, {write::AddJob{full}, write::AddJob{bare}});
  }
  Store store = open_store(folder.path());
  auto one = store.job(full.id);
  ASSERT_TRUE(one && *one);
  expect_same((*one)->row, full);
  EXPECT_EQ((*one)->state, JobState::queued);
  EXPECT_FALSE((*one)->attempt);
  EXPECT_FALSE((*one)->report);
  auto two = store.job(bare.id);
  ASSERT_TRUE(two && *two);
  expect_same((*two)->row, bare);
  EXPECT_FALSE(*store.job(JobId(12345)));
}

TEST(Store, FollowsAnAttemptThroughItsLife) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  const AttemptId id = attempt_of(1);
  const auto now = [&] { return **store.job(id.job); };
  expect_committed(store, {write::AddJob{job_row(1)}});

  write::AddAttempt add = add_attempt(1);
  add.attempt.gpus = {0, 3};
  add.attempt.ports = {38001, 38002};
  add.attempt.memory_bytes = 77;
  expect_committed(store, {add});
  EXPECT_EQ(now().state, JobState::starting);
  EXPECT_THAT(now().attempt->gpus, ElementsAre(0, 3));
  EXPECT_THAT(now().attempt->ports, ElementsAre(38001, 38002));
  EXPECT_EQ(now().attempt->memory_bytes, 77);
  EXPECT_EQ(now().attempt->boot_id, add.attempt.boot_id);

  expect_committed(store, {write::SetTier{id, "pidns"}, write::SetRunning{id, 4242, at(2)}});
  EXPECT_EQ(now().state, JobState::running);
  EXPECT_EQ(now().attempt->tier, "pidns");
  EXPECT_EQ(now().attempt->pid, 4242);
  EXPECT_EQ(now().attempt->started_at, at(2));

  const model::StopReason first{.kind = StopKind::cancelled, .by = "alice", .detail = "SIGINT"};
  const model::StopReason second{.kind = StopKind::timeout, .by = {}, .detail = {}};
  expect_committed(store, {write::SetStopAsked{id, first, at(3)}, write::SetStopAsked{id, second, at(4)}});
  EXPECT_EQ(now().attempt->stop_reason, first) << "the first one counts";
  EXPECT_EQ(now().attempt->stop_asked_at, at(3));
  EXPECT_EQ(now().state, JobState::releasing);
  EXPECT_FALSE(now().attempt->ended_at) << "which tells a stop from an end";

  expect_committed(store, {write::SetEnded{id, first, {.code = {}, .signal = 15}, at(5)}});
  EXPECT_EQ(now().state, JobState::releasing);
  EXPECT_EQ(now().attempt->exit.signal, 15);
  EXPECT_EQ(now().attempt->ended_at, at(5));

  model::Report report = report_of(1, StopKind::cancelled);
  report.tier = "pidns";
  report.releases.emplace_back().target = "x";
  expect_committed(store, {write::AddReport{report}});
  EXPECT_EQ(now().state, JobState::cancelled);
  EXPECT_EQ(model::json_text(*now().report), model::json_text(report));
  EXPECT_EQ(model::json_text(**store.report(id.job, 1)), model::json_text(report));
  EXPECT_EQ((*store.report(id.job, std::nullopt))->attempt, 1);
  EXPECT_FALSE(*store.report(id.job, 2));
}

TEST(Store, NeverRewritesAReport) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  expect_committed(store,
                   {write::AddJob{job_row(1)}, write::AddReport{report_of(1, StopKind::cancelled, 0)}});
  EXPECT_FALSE(commit(store, {write::AddReport{report_of(1, StopKind::failed, 0)}}).result);
  EXPECT_EQ((*store.job(id_of(1)))->state, JobState::cancelled);
  EXPECT_EQ((*store.report(id_of(1), 0))->reason.kind, StopKind::cancelled);
}

TEST(Store, PutsAJobBackWhoseAttemptNeverLived) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  expect_committed(store, {write::AddJob{job_row(1)}, add_attempt(1)});
  expect_committed(store, {write::DropAttempt{attempt_of(1)}});
  EXPECT_EQ((*store.job(id_of(1)))->state, JobState::queued);
  EXPECT_FALSE((*store.job(id_of(1)))->attempt);
  expect_committed(store, {add_attempt(1, 2)});
  EXPECT_EQ((*store.job(id_of(1)))->attempt->id.number, 2U);
}

TEST(Store, SetsAJobFreeOfItsOwnerAndChangesNothingElse) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  JobRow row = full_row();
  expect_committed(store, {write::AddJob{row}});
  EXPECT_TRUE((*store.job(row.id))->row.spec.owner_lease);
  expect_committed(store, {write::SetDisowned{row.id}});
  row.spec.owner_lease.reset();
  expect_same((*store.job(row.id))->row, row);
  expect_committed(store, {write::SetDisowned{row.id}});
  EXPECT_FALSE(commit(store, {write::SetDisowned{id_of(9)}}).result);
}

TEST(Store, LeadsEveryEndToItsState) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  std::int64_t seq = 0;
  for (const StopKind kind :
       {StopKind::completed, StopKind::failed, StopKind::start_failed, StopKind::timeout, StopKind::oom,
        StopKind::cancelled, StopKind::owner_lost, StopKind::preempted, StopKind::daemon_stopped,
        StopKind::dependency_failed, StopKind::keeper_lost, StopKind::reboot}) {
    ++seq;
    expect_committed(store, {write::AddJob{job_row(seq)}, write::AddReport{report_of(seq, kind, 0)}});
    EXPECT_EQ((*store.job(id_of(seq)))->state, model::terminal_state(kind));
  }
}

TEST(Store, RefusesABatchAsAWholeAndNoOther) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  // All at once, so that they share transactions: the bad ones are wrong each in its own way.
  std::vector<std::promise<Store::Outcome>> promises(8);
  std::size_t next = 0;
  const auto send = [&](Batch batch) {
    auto& promise = promises[next++];
    store.commit(std::move(batch), [&](Store::Outcome outcome) { promise.set_value(std::move(outcome)); });
  };
  send({write::AddJob{job_row(1)}});
  send({write::AddJob{job_row(2)}, write::AddJob{job_row(1)}});  // 1 exists
  send({write::AddJob{job_row(3)}, event(3)});
  send({event(4), write::SetRunning{attempt_of(3), 1, at(0)}});  // no such attempt
  send({add_attempt(3)});
  send({event(5), write::AddReport{report_of(99, StopKind::completed)}});  // no such job
  send({write::PutValue{"a", "1"}, event(3)});                             // event 3 exists
  send({write::PutValue{"b", "2"}});
  std::vector<bool> fine;
  for (auto& promise : promises) {
    const Store::Outcome outcome = promise.get_future().get();
    EXPECT_FALSE(outcome.fatal);
    fine.push_back(outcome.result.ok());
  }
  EXPECT_THAT(fine, ElementsAre(true, false, true, false, true, false, false, true));
  EXPECT_FALSE(*store.known(id_of(2)));
  EXPECT_EQ(*store.last_event_seq(), 3);
  EXPECT_FALSE(*store.value("a"));
  EXPECT_EQ(*store.value("b"), "2");
  EXPECT_EQ((*store.job(id_of(3)))->state, JobState::starting);
}

TEST(Store, FindsJobsByAnythingThatIsAsked) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  Batch batch;
  for (std::int64_t seq = 1; seq <= 20; ++seq) {
    JobRow row = job_row(seq, seq % 2 == 0 ? "bob" : "alice");
    if (seq % 5 == 0) row.spec.name = "five";
    if (seq % 10 == 0) row.spec.group = "ten";
    batch.emplace_back(write::AddJob{std::move(row)});
    if (seq <= 8) batch.emplace_back(write::AddReport{report_of(seq, StopKind::completed, 0)});
    if (seq == 9) batch.emplace_back(add_attempt(seq));
  }
  expect_committed(store, std::move(batch));
  const auto found = [&](const JobQuery& query) {
    std::vector<std::int64_t> seqs;
    auto records = store.jobs(query);
    EXPECT_TRUE(records) << records.error().message;
    for (const JobRecord& record : *records) seqs.push_back(record.row.seq);
    return seqs;
  };
  EXPECT_EQ(found({}).size(), 20U);
  EXPECT_EQ(found({}).front(), 20);
  EXPECT_THAT(found({.before_seq = 4, .limit = 2}), ElementsAre(3, 2));
  EXPECT_THAT(found({.after_seq = 4, .oldest_first = true, .limit = 2}), ElementsAre(5, 6));
  EXPECT_THAT(found({.user = "bob", .limit = 3}), ElementsAre(20, 18, 16));
  EXPECT_THAT(found({.states = {JobState::starting}}), ElementsAre(9));
  EXPECT_THAT(found({.states = {JobState::starting, JobState::queued}, .limit = 2}), ElementsAre(20, 19));
  EXPECT_THAT(found({.states = {JobState::completed}, .user = "alice"}), ElementsAre(7, 5, 3, 1));
  EXPECT_THAT(found({.name = "five"}), ElementsAre(20, 15, 10, 5));
  EXPECT_THAT(found({.states = {JobState::completed}, .name = "five"}), ElementsAre(5));
  EXPECT_THAT(found({.group = "ten"}), ElementsAre(20, 10));
  EXPECT_THAT(found({.user = "alice", .group = "ten"}), ElementsAre());
  EXPECT_THAT(found({.since = at(19)}), ElementsAre(20, 19));
  EXPECT_THAT(found({.user = "bob", .since = at(19)}), ElementsAre(20));
  EXPECT_THAT(found({.since = at(100)}), ElementsAre());
  EXPECT_THAT(found({.name = ""}), ElementsAre());
  EXPECT_THAT(found({.user = "x' OR 1=1 --"}), ElementsAre());
  EXPECT_THAT(found({.limit = 0}), ElementsAre());
}

TEST(Store, ListsLiveJobsInOrderOfSubmissionWithoutTheirEnvironment) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  Batch batch;
  for (const std::int64_t seq : {4, 1, 3, 2, 5}) batch.emplace_back(write::AddJob{job_row(seq)});
  batch.emplace_back(add_attempt(3));
  batch.emplace_back(write::SetRunning{attempt_of(3), 9, at(9)});
  batch.emplace_back(write::AddReport{report_of(2, StopKind::failed, 0)});
  expect_committed(store, std::move(batch));
  std::vector<std::int64_t> seqs;
  ASSERT_TRUE(store.each_live_job([&](const JobRecord& record) {
    seqs.push_back(record.row.seq);
    EXPECT_TRUE(record.row.surroundings.environment.empty());
    EXPECT_EQ(record.row.surroundings.uid, 1000U);
    EXPECT_EQ(record.attempt.has_value(), record.row.seq == 3);
  }));
  EXPECT_THAT(seqs, ElementsAre(1, 3, 4, 5));
}

TEST(Store, FindsIdsByTheirBeginning) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  Batch batch;
  std::int64_t seq = 0;
  for (const std::uint32_t id : {0x7f3a91c2U, 0x7f3a0000U, 0x7f3b0000U, 0xffffffffU}) {
    JobRow row = job_row(++seq);
    row.id = JobId(id);
    batch.emplace_back(write::AddJob{std::move(row)});
  }
  expect_committed(store, std::move(batch));
  EXPECT_THAT(*store.with_prefix("7f3a", 10), ElementsAre(JobId(0x7f3a0000U), JobId(0x7f3a91c2U)));
  EXPECT_THAT(*store.with_prefix("7f3a", 1), ElementsAre(JobId(0x7f3a0000U)));
  EXPECT_THAT(*store.with_prefix("7f3a91c2", 10), ElementsAre(JobId(0x7f3a91c2U)));
  EXPECT_THAT(*store.with_prefix("f", 10), ElementsAre(JobId(0xffffffffU)));
  EXPECT_THAT(*store.with_prefix("", 10), ElementsAre());
  EXPECT_THAT(*store.with_prefix("7F3A", 10), ElementsAre());
  EXPECT_THAT(*store.with_prefix("7f3a91c2a", 10), ElementsAre());
}

TEST(Store, ForgetsOldJobsButNeverTheirIds) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  Batch batch;
  for (std::int64_t seq = 1; seq <= 6; ++seq) {
    batch.emplace_back(write::AddJob{job_row(seq)});
    if (seq == 3) continue;  // this one lives
    batch.emplace_back(add_attempt(seq));
    batch.emplace_back(write::AddReport{report_of(seq, StopKind::completed)});
  }
  batch.emplace_back(write::PutQuarantine{{.gpu = 0, .uuid = "GPU-x", .why = "w", .attempt = attempt_of(2)}});
  batch.emplace_back(write::PutQuarantine{{.gpu = 1, .uuid = "GPU-y", .why = "w", .attempt = {}}});
  expect_committed(store, std::move(batch));
  EXPECT_EQ(*store.count_ended(), 5);
  const auto ended = [&](Store::EndedAt after, int limit) {
    std::vector<std::int64_t> seqs;
    const auto found = store.ended_after(after, limit);
    for (const Store::EndedJob& job : *found) {
      EXPECT_EQ(job.id, id_of(job.ended.seq));
      EXPECT_EQ(job.ended.at, at(job.ended.seq) + std::chrono::seconds(5));
      EXPECT_EQ(job.attempts, 1);
      EXPECT_EQ(job.kept, job.ended.seq == 6 || job.ended.seq == 2)
          << "the last one carries the numbering, the second has a GPU in quarantine";
      seqs.push_back(job.ended.seq);
    }
    return seqs;
  };
  EXPECT_THAT(ended({}, 10), ElementsAre(1, 2, 4, 5, 6));
  EXPECT_THAT(ended({}, 2), ElementsAre(1, 2));
  EXPECT_THAT(ended({.at = at(2) + std::chrono::seconds(5), .seq = 2}, 2), ElementsAre(4, 5));
  EXPECT_THAT(ended({.at = at(2) + std::chrono::seconds(5), .seq = 1}, 1), ElementsAre(2));
  EXPECT_THAT(ended({.at = at(100), .seq = 0}, 10), ElementsAre());

  expect_committed(store, {write::DropJob{id_of(1)}, write::DropJob{id_of(5)}});
  EXPECT_FALSE(*store.job(id_of(1)));
  EXPECT_FALSE(*store.report(id_of(1), std::nullopt));
  EXPECT_TRUE(*store.known(id_of(1)));
  EXPECT_TRUE(*store.known(id_of(2)));
  EXPECT_EQ(*store.count_ended(), 3);
  EXPECT_THAT(ended({}, 10), ElementsAre(2, 4, 6));
  EXPECT_EQ(*store.last_job_seq(), 6);
  EXPECT_FALSE(commit(store, {write::DropJob{id_of(3)}}).result) << "it has not ended";
  EXPECT_FALSE(commit(store, {write::DropJob{id_of(6)}}).result) << "it carries the numbering";
  EXPECT_FALSE(commit(store, {write::DropJob{id_of(1)}}).result) << "it is gone";
}

TEST(Store, NumbersEventsAndKeepsTheLast) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  EXPECT_EQ(store.event_range()->first, 0);
  EXPECT_EQ(store.event_range()->last, 0);
  constexpr std::int64_t kAll = 103'000;
  Batch batch;
  for (std::int64_t seq = 1; seq <= kAll; ++seq) batch.emplace_back(event(seq));
  expect_committed(store, std::move(batch));
  EXPECT_EQ(store.event_range()->last, kAll);
  EXPECT_EQ(*store.last_event_seq(), kAll);
  EXPECT_GE(store.event_range()->first, kAll - 101'000);
  EXPECT_LE(store.event_range()->first, kAll - 99'999);
  model::Event full;
  full.seq = kAll + 1;
  full.at = at(1);
  full.type = "job.ended";
  full.job = id_of(1);
  full.user = "alice";
  full.state = JobState::failed;
  full.detail = "x";
  expect_committed(store, {write::AddEvent{full}});
  auto events = store.events_after(kAll - 1, 10);
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ(model::json_text(events->back()), model::json_text(full));
  EXPECT_FALSE(events->front().job);
  EXPECT_EQ(store.events_after(kAll - 50, 10)->size(), 10U);
}

TEST(Store, RemembersIdempotencyKeysForADay) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  const auto add = [](std::string user, std::string hash, std::int64_t seq, std::int64_t when) {
    return write::AddIdempotency{
        .user = std::move(user), .key = "k", .body_hash = std::move(hash), .job = id_of(seq), .at = at(when)};
  };
  expect_committed(store, {add("alice", "h1", 1, 0), add("bob", "h2", 2, 0)});
  EXPECT_EQ((*store.idempotent("alice", "k", at(-1)))->body_hash, "h1");
  EXPECT_EQ((*store.idempotent("bob", "k", at(0)))->job, id_of(2));
  EXPECT_FALSE(*store.idempotent("alice", "k", at(1)));
  EXPECT_FALSE(*store.idempotent("carol", "k", at(0)));
  const Store::Outcome again = commit(store, {write::AddJob{job_row(7)}, add("alice", "h3", 3, 3600)});
  ASSERT_FALSE(again.result);
  EXPECT_EQ(again.result.error().type, "idempotency-conflict");
  EXPECT_FALSE(*store.known(id_of(7))) << "the job goes with the key";
  constexpr std::int64_t kLater = 24 * 3600 + 1;
  expect_committed(store, {add("alice", "h4", 4, kLater)});
  EXPECT_EQ((*store.idempotent("alice", "k", at(0)))->body_hash, "h4");
  EXPECT_FALSE(*store.idempotent("bob", "k", at(0))) << "pruned";
}

TEST(Store, KeepsUsersKeysOnlyAsHashes) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  UserRow alice;
  alice.user = {.user_id = "user_00000001",
                .name = "alice",
                .created_at = at(1),
                .admin = true,
                .templates_only = false,
                .account = "alice_unix",
                .revoked_at = {}};
  alice.key_hash = "aa";
  UserRow bob;
  bob.user = {.user_id = "user_00000002",
              .name = "bob",
              .created_at = at(2),
              .admin = false,
              .templates_only = true,
              .account = {},
              .revoked_at = {}};
  bob.key_hash = "bb";
  expect_committed(store, {write::PutUser{alice}, write::PutUser{bob}});
  ASSERT_EQ(store.users()->size(), 2U);
  EXPECT_EQ(model::json_text(store.users()->front().user), model::json_text(alice.user));
  EXPECT_EQ((*store.user_by_key_hash("bb"))->user.name, "bob");
  EXPECT_TRUE((*store.user_by_key_hash("bb"))->user.templates_only);
  EXPECT_FALSE(*store.user_by_key_hash(""));
  EXPECT_FALSE(*store.user_by_key_hash("cc"));

  bob.key_hash = "aa";
  EXPECT_FALSE(commit(store, {write::PutUser{bob}}).result) << "two users cannot share a key";
  bob.key_hash.clear();
  bob.user.revoked_at = at(3);
  expect_committed(store, {write::PutUser{bob}});
  EXPECT_FALSE(*store.user_by_key_hash("bb"));
  EXPECT_EQ((*store.user_by_name("bob"))->user.revoked_at, at(3));
  UserRow second = bob;
  second.user.user_id = "user_00000003";
  second.user.revoked_at.reset();
  second.key_hash = "dd";
  expect_committed(store, {write::PutUser{second}});
  EXPECT_EQ((*store.user_by_name("bob"))->user.user_id, "user_00000003");
  UserRow third = second;
  third.user.user_id = "user_00000004";
  third.key_hash = "ee";
  EXPECT_EQ(commit(store, {write::PutUser{third}}).result.error().code, Errc::conflict);
}

TEST(Store, KeepsQuarantinesAndValues) {
  const TemporaryFolder folder;
  {
    Store store = open_store(folder.path());
    expect_committed(
        store, {write::PutQuarantine{{.gpu = 3, .uuid = "GPU-x", .why = "pid 7", .attempt = attempt_of(1)}},
                write::PutQuarantine{{.gpu = 1, .uuid = "", .why = "w", .attempt = {}}},
                write::PutValue{"baseline", "1"}, write::PutValue{"baseline", "2"}});
    expect_committed(store, {write::DropQuarantine{1}, write::DropQuarantine{9}});
  }
  Store store = open_store(folder.path());
  auto rows = store.quarantined();
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ(rows->front().gpu, 3);
  EXPECT_EQ(rows->front().uuid, "GPU-x");
  EXPECT_EQ(rows->front().why, "pid 7");
  EXPECT_EQ(rows->front().attempt, attempt_of(1));
  EXPECT_EQ(*store.value("baseline"), "2");
  EXPECT_FALSE(*store.value("other"));
}

TEST(Store, AnswersBatchesInTheirOrderAndAllBeforeItEnds) {
  const TemporaryFolder folder;
  std::vector<int> answered;
  {
    Store store = open_store(folder.path());
    for (int i = 0; i < 3000; ++i) {
      store.commit({event(i + 1)}, [&answered, i](const Store::Outcome& outcome) {
        EXPECT_TRUE(outcome.result);
        answered.push_back(i);
      });
    }
    store.commit({}, nullptr);
  }
  ASSERT_EQ(answered.size(), 3000U);
  EXPECT_TRUE(std::ranges::is_sorted(answered));
  EXPECT_EQ(*open_store(folder.path()).last_event_seq(), 3000);
}

}  // namespace
}  // namespace ebb::store
