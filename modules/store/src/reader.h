// All queries, over a connection of their own.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ebb/store/store.h"
#include "sqlite.h"

namespace ebb::store {

/// Reads what is committed. One thread. The contract of each function stands at Store.
class Reader {
 public:
  [[nodiscard]] static Result<Reader> open(const std::filesystem::path& path);

  Result<std::optional<JobRecord>> job(JobId id);
  Result<std::vector<JobRecord>> jobs(const JobQuery& query);
  Result<bool> known(JobId id);
  Result<std::vector<Store::EndedJob>> ended_after(Store::EndedAt after, int limit);
  Result<std::vector<JobId>> with_prefix(std::string_view prefix, int limit);
  Result<std::optional<model::Report>> report(JobId id, std::optional<int> attempt);
  Result<void> each_live_job(const std::function<void(const JobRecord&)>& visit);
  Result<std::vector<QuarantineRow>> quarantined();
  Result<std::vector<model::Event>> events_after(std::int64_t seq, int limit);
  Result<Store::EventRange> event_range();
  Result<std::optional<Store::Idempotent>> idempotent(const std::string& user, const std::string& key,
                                                      WallTime not_before);
  Result<std::vector<UserRow>> users(const char* where, std::optional<std::string> value);
  Result<std::optional<std::string>> value(const std::string& name);
  Result<std::int64_t> number(const char* sql) { return connection_.number(sql); }

 private:
  explicit Reader(Connection connection) : connection_(std::move(connection)) {}

  Result<std::optional<JobRecord>> record(std::int64_t seq, bool with_environment);
  Result<JobRecord> read_record(std::int64_t seq, bool with_environment);
  Result<std::vector<std::int64_t>> select(const JobQuery& query, std::optional<model::JobState> state);
  Result<void> fill_surroundings(std::int64_t id, bool with_environment, Surroundings& out);
  Result<std::vector<JobId>> ids(Statement& statement);

  Connection connection_;
  Statement record_, seq_of_, known_, identity_, environment_, report_, last_report_, idempotent_, value_;
  std::map<std::int64_t, Surroundings> identities_;  // read lately; rows never change, but may be dropped
};

}  // namespace ebb::store
