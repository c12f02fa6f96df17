#include "applier.h"

#include <sodium.h>

#include "ebb/model/json.h"
#include "row_codec.h"

namespace ebb::store {
namespace {

using model::JobState;

constexpr std::int64_t kKeptEvents = 100'000;
constexpr std::int64_t kEventsBetweenPrunes = 1'000;
constexpr std::size_t kRemembered = 1'024;
constexpr auto kKeptIdempotency = std::chrono::hours(24);
constexpr auto kBetweenIdempotencyPrunes = std::chrono::minutes(1);

Error missing(std::string_view thing, const std::string& id) {
  return {.code = Errc::not_found,
          .message = "the database has no " + std::string(thing) + " " + id,
          .pointer = {},
          .type = {}};
}

}  // namespace

Result<Applier> Applier::make(Connection& connection) {
  Applier applier(connection.get());
  const std::pair<Statement*, const char*> all[] = {
      {&applier.add_job_,
       "INSERT INTO jobs (seq, id, state, attempt, submitted_at, user, name, \"group\", origin, server_url, "
       "workdir, surroundings, spec) VALUES (?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {&applier.find_surroundings_, "SELECT id FROM surroundings WHERE hash = ?"},
      {&applier.add_surroundings_, "INSERT INTO surroundings (hash, identity, environment) VALUES (?, ?, ?)"},
      {&applier.add_attempt_,
       "INSERT INTO attempts (job, number, gpus, ports, memory_bytes, tier, boot_id, pid, started_at, "
       "stop_asked_at, stop_reason, ended_at, exit_code, exit_signal) "
       "SELECT seq, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14 FROM jobs WHERE id = ?1"},
      {&applier.set_state_, "UPDATE jobs SET state = ?2, attempt = ?3 WHERE id = ?1"},
      {&applier.attempt_state_, "UPDATE jobs SET state = ?2 WHERE id = ?1"},
      {&applier.set_running_,
       "UPDATE attempts SET pid = ?3, started_at = ?4 "
       "WHERE job = (SELECT seq FROM jobs WHERE id = ?1) AND number = ?2"},
      {&applier.set_disowned_, "UPDATE jobs SET spec = json_remove(spec, '$.owner_lease_us') WHERE id = ?"},
      {&applier.set_tier_,
       "UPDATE attempts SET tier = ?3 WHERE job = (SELECT seq FROM jobs WHERE id = ?1) AND number = ?2"},
      {&applier.set_stop_,
       "UPDATE attempts SET stop_reason = iif(stop_asked_at IS NULL, ?3, stop_reason), "
       "stop_asked_at = coalesce(stop_asked_at, ?4) "
       "WHERE job = (SELECT seq FROM jobs WHERE id = ?1) AND number = ?2"},
      {&applier.set_ended_,
       "UPDATE attempts SET stop_reason = ?3, exit_code = ?4, exit_signal = ?5, ended_at = ?6 "
       "WHERE job = (SELECT seq FROM jobs WHERE id = ?1) AND number = ?2"},
      {&applier.add_report_,
       "INSERT INTO reports (job, attempt, body) SELECT seq, ?2, ?3 FROM jobs WHERE id = ?1"},
      {&applier.end_job_, "UPDATE jobs SET state = ?2, reported = ?3, ended_at = ?4 WHERE id = ?1"},
      {&applier.drop_attempt_,
       "DELETE FROM attempts WHERE job = (SELECT seq FROM jobs WHERE id = ?1) AND number = ?2"},
      {&applier.requeue_,
       "UPDATE jobs SET state = 0, attempt = (SELECT coalesce(max(number), 0) FROM attempts WHERE job = seq) "
       "WHERE id = ?1"},
      {&applier.put_quarantine_, "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)"},
      {&applier.drop_quarantine_, "DELETE FROM quarantine WHERE gpu = ?"},
      {&applier.add_event_, "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"},
      {&applier.prune_events_, "DELETE FROM events WHERE seq <= ?"},
      {&applier.add_idempotency_,
       "INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (user, key) DO UPDATE SET "
       "body_hash = ?3, job = ?4, at = ?5 WHERE at < ?6"},
      {&applier.prune_idempotency_, "DELETE FROM idempotency WHERE at < ?"},
      {&applier.find_ended_,
       "SELECT seq, surroundings FROM jobs WHERE id = ? AND state >= ? AND seq < (SELECT max(seq) FROM "
       "jobs)"},
      {&applier.drop_reports_, "DELETE FROM reports WHERE job = ?"},
      {&applier.drop_attempts_, "DELETE FROM attempts WHERE job = ?"},
      {&applier.drop_job_, "DELETE FROM jobs WHERE seq = ?"},
      {&applier.drop_surroundings_,
       "DELETE FROM surroundings WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE surroundings = ?1)"},
      {&applier.keep_id_, "INSERT INTO used_ids VALUES (?)"},
      {&applier.put_user_,
       "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (user_id) DO UPDATE SET "
       "name = ?2, key_hash = ?3, created_at = ?4, admin = ?5, templates_only = ?6, account = ?7, "
       "revoked_at = ?8"},
      {&applier.put_value_, "INSERT OR REPLACE INTO named_values VALUES (?, ?)"},
  };
  for (const auto& [statement, sql] : all) {
    auto prepared = Statement::prepare(connection, sql);
    if (!prepared) return std::move(prepared).error();
    *statement = std::move(*prepared);
  }
  return applier;
}

void Applier::forget() {
  known_.clear();
  events_pruned_at_ = 0;
  idempotency_pruned_at_ = {};
}

Result<void> Applier::changed(std::string_view thing, const std::string& id) const {
  if (sqlite3_changes(handle_) == 0) return missing(thing, id);
  return {};
}

Result<std::int64_t> Applier::surroundings(const Surroundings& from) {
  const std::string identity = write_surroundings(from);
  const std::string environment = write_environment(from.environment);
  std::array<unsigned char, 32> hash{};
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, hash.size());
  for (const std::string* part : {&identity, &environment}) {
    // The text has its own end, "}", so the two cannot run into each other.
    crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(part->data()), part->size());
  }
  crypto_generichash_final(&state, hash.data(), hash.size());
  if (const auto known = known_.find(hash); known != known_.end()) return known->second;
  const std::string_view key(reinterpret_cast<const char*>(hash.data()), hash.size());
  find_surroundings_.query(Blob{key});
  auto found = find_surroundings_.next();
  if (!found) return std::move(found).error();
  std::int64_t id = 0;
  if (*found) {
    id = find_surroundings_.integer(0);
    find_surroundings_.reset();
  } else {
    if (auto added = add_surroundings_.run(Blob{key}, identity, Blob{environment}); !added) {
      return std::move(added).error();
    }
    id = sqlite3_last_insert_rowid(handle_);
  }
  if (known_.size() >= kRemembered) known_.clear();
  known_.emplace(hash, id);
  return id;
}

Result<void> Applier::operator()(const write::AddJob& write) {
  const JobRow& job = write.job;
  auto whose = surroundings(job.surroundings);
  if (!whose) return std::move(whose).error();
  return add_job_.run(job.seq, job.id.value(), job.submitted_at, job.user, job.spec.name, job.spec.group,
                      job.origin, job.server_url, job.surroundings.workdir, *whose, write_spec(job.spec));
}

Result<void> Applier::operator()(const write::AddAttempt& write) {
  const AttemptRow& row = write.attempt;
  const auto id = row.id.job.value();
  std::optional<std::string> reason;
  if (row.stop_reason) reason = write_reason(*row.stop_reason);
  if (auto added = add_attempt_.run(id, row.id.number, write_numbers(row.gpus), write_numbers(row.ports),
                                    row.memory_bytes, row.tier, row.boot_id, row.pid, row.started_at,
                                    row.stop_asked_at, reason, row.ended_at, row.exit.code, row.exit.signal);
      !added) {
    return added;
  }
  if (auto there = changed("job", row.id.job.str()); !there) return there;
  return set_state_.run(id, stored_state(JobState::starting), row.id.number);
}

Result<void> Applier::operator()(const write::SetRunning& write) {
  const auto id = write.attempt.job.value();
  if (auto set = set_running_.run(id, write.attempt.number, write.pid, write.at); !set) return set;
  if (auto there = changed("attempt", write.attempt.str()); !there) return there;
  return attempt_state_.run(id, stored_state(JobState::running));
}

Result<void> Applier::operator()(const write::SetDisowned& write) {
  if (auto set = set_disowned_.run(write.job.value()); !set) return set;
  return changed("job", write.job.str());
}

Result<void> Applier::operator()(const write::SetTier& write) {
  if (auto set = set_tier_.run(write.attempt.job.value(), write.attempt.number, write.tier); !set) return set;
  return changed("attempt", write.attempt.str());
}

Result<void> Applier::operator()(const write::SetStopAsked& write) {
  if (auto set = set_stop_.run(write.attempt.job.value(), write.attempt.number, write_reason(write.reason),
                               write.at);
      !set) {
    return set;
  }
  if (auto there = changed("attempt", write.attempt.str()); !there) return there;
  return attempt_state_.run(write.attempt.job.value(), stored_state(JobState::releasing));
}

Result<void> Applier::operator()(const write::SetEnded& write) {
  const auto id = write.attempt.job.value();
  if (auto set = set_ended_.run(id, write.attempt.number, write_reason(write.reason), write.exit.code,
                                write.exit.signal, write.at);
      !set) {
    return set;
  }
  if (auto there = changed("attempt", write.attempt.str()); !there) return there;
  return attempt_state_.run(id, stored_state(JobState::releasing));
}

Result<void> Applier::operator()(const write::AddReport& write) {
  const model::Report& report = write.report;
  const auto id = report.job.value();
  if (auto added = add_report_.run(id, report.attempt, model::json_text(report)); !added) return added;
  if (auto there = changed("job", report.job.str()); !there) return there;
  return end_job_.run(id, stored_state(model::terminal_state(report.reason.kind)), report.attempt,
                      report.released_at);
}

Result<void> Applier::operator()(const write::DropAttempt& write) {
  const auto id = write.attempt.job.value();
  if (auto dropped = drop_attempt_.run(id, write.attempt.number); !dropped) return dropped;
  if (auto there = changed("attempt", write.attempt.str()); !there) return there;
  return requeue_.run(id);
}

Result<void> Applier::operator()(const write::PutQuarantine& write) {
  std::optional<std::uint32_t> job, attempt;
  if (write.row.attempt) {
    job = write.row.attempt->job.value();
    attempt = write.row.attempt->number;
  }
  return put_quarantine_.run(write.row.gpu, write.row.uuid, write.row.why, job, attempt);
}

Result<void> Applier::operator()(const write::DropQuarantine& write) {
  return drop_quarantine_.run(write.gpu);
}

Result<void> Applier::operator()(const write::AddEvent& write) {
  const model::Event& event = write.event;
  std::optional<std::uint32_t> job;
  if (event.job) job = event.job->value();
  std::optional<int> state;
  if (event.state) state = stored_state(*event.state);
  if (auto added = add_event_.run(event.seq, event.at, event.type, job, event.user, state, event.detail);
      !added) {
    return added;
  }
  if (event.seq - events_pruned_at_ < kEventsBetweenPrunes) return {};
  events_pruned_at_ = event.seq;
  return prune_events_.run(event.seq - kKeptEvents);
}

Result<void> Applier::operator()(const write::AddIdempotency& write) {
  const WallTime oldest = write.at - kKeptIdempotency;
  if (write.at - idempotency_pruned_at_ > kBetweenIdempotencyPrunes) {
    idempotency_pruned_at_ = write.at;
    if (auto pruned = prune_idempotency_.run(oldest); !pruned) return pruned;
  }
  if (auto added =
          add_idempotency_.run(write.user, write.key, write.body_hash, write.job.value(), write.at, oldest);
      !added) {
    return added;
  }
  if (sqlite3_changes(handle_) > 0) return {};
  return Error{.code = Errc::conflict,
               .message = "this Idempotency-Key is in use for another request",
               .pointer = {},
               .type = "idempotency-conflict"};
}

Result<void> Applier::operator()(const write::DropJob& write) {
  find_ended_.query(write.job.value(), kFirstEnded);
  auto found = find_ended_.next();
  if (!found) return std::move(found).error();
  if (!*found) return missing("ended job", write.job.str());
  const std::int64_t seq = find_ended_.integer(0);
  const std::int64_t surroundings = find_ended_.integer(1);
  find_ended_.reset();
  for (Statement* statement : {&drop_reports_, &drop_attempts_, &drop_job_}) {
    if (auto dropped = statement->run(seq); !dropped) return dropped;
  }
  if (auto dropped = drop_surroundings_.run(surroundings); !dropped) return dropped;
  if (sqlite3_changes(handle_) > 0) known_.clear();
  return keep_id_.run(write.job.value());
}

Result<void> Applier::operator()(const write::PutUser& write) {
  const model::User& user = write.user.user;
  return put_user_.run(user.user_id, user.name, write.user.key_hash, user.created_at, user.admin,
                       user.templates_only, user.account, user.revoked_at);
}

Result<void> Applier::operator()(const write::PutValue& write) {
  return put_value_.run(write.name, write.value);
}

}  // namespace ebb::store
