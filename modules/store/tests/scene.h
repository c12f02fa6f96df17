// What the tests of the store share: a fresh folder, rows with everything set, commits that are waited for.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <future>
#include <string>

#include "ebb/store/store.h"

namespace ebb::store {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ebb-store-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path database() const { return path_ / "ebb.db"; }

 private:
  std::filesystem::path path_;
};

/// Commits and waits for the outcome.
inline Store::Outcome commit(Store& store, Batch batch) {
  std::promise<Store::Outcome> promise;
  store.commit(std::move(batch), [&](Store::Outcome outcome) { promise.set_value(std::move(outcome)); });
  return promise.get_future().get();
}

inline void expect_committed(Store& store, Batch batch) {
  const Store::Outcome outcome = commit(store, std::move(batch));
  EXPECT_TRUE(outcome.result) << outcome.result.error().message;
}

inline Store open_store(const std::filesystem::path& folder) {
  auto store = Store::open(folder);
  if (!store) {
    ADD_FAILURE() << store.error().message;
    std::abort();
  }
  return std::move(*store);
}

inline WallTime at(std::int64_t seconds) { return WallTime(std::chrono::seconds(1'763'900'000 + seconds)); }

/// The id of the job numbered `seq` in these tests; spread like random ones.
inline JobId id_of(std::int64_t seq) { return JobId(static_cast<std::uint32_t>(seq) * 2654435761U); }
inline AttemptId attempt_of(std::int64_t seq, std::uint32_t number = 1) { return {id_of(seq), number}; }

inline JobRow job_row(std::int64_t seq, std::string user = "alice") {
  JobRow row;
  row.id = id_of(seq);
  row.seq = seq;
  row.user = std::move(user);
  row.spec.command = {"python3", "train.py"};
  row.spec.grace = std::chrono::seconds(10);
  row.spec.log_limit_bytes = 1 << 30;
  row.surroundings.uid = 1000;
  row.surroundings.gid = 1000;
  row.surroundings.workdir = "/home/alice";
  row.surroundings.environment = {"PATH=/usr/bin:/bin", "HOME=/home/alice"};
  row.submitted_at = at(seq);
  return row;
}

inline write::AddAttempt add_attempt(std::int64_t seq, std::uint32_t number = 1) {
  AttemptRow row;
  row.id = attempt_of(seq, number);
  row.tier = "cgroup+pidns";
  row.boot_id = "0c2a0000-0000-0000-0000-000000000000";
  return {std::move(row)};
}

inline model::Report report_of(std::int64_t seq, model::StopKind kind, int attempt = 1) {
  model::Report report;
  report.job = id_of(seq);
  report.attempt = attempt;
  report.reason = {.kind = kind, .by = "daemon", .detail = {}};
  report.released_at = at(seq) + std::chrono::seconds(5);
  return report;
}

inline write::AddEvent event(std::int64_t seq) {
  model::Event one;
  one.seq = seq;
  one.at = at(seq);
  one.type = "job.queued";
  return {std::move(one)};
}

}  // namespace ebb::store
