#include "reader.h"

#include <algorithm>

#include "ebb/model/json.h"
#include "row_codec.h"

namespace ebb::store {
namespace {

using model::JobState;

constexpr std::size_t kRememberedIdentities = 256;

// The columns of read_record(), in its order.
constexpr const char* kRecord =
    "SELECT j.id, j.state, j.submitted_at, j.user, j.name, j.\"group\", j.origin, j.server_url, j.workdir, "
    "j.surroundings, j.spec, a.number, a.gpus, a.ports, a.memory_bytes, a.tier, a.boot_id, a.pid, "
    "a.started_at, a.stop_asked_at, a.stop_reason, a.ended_at, a.exit_code, a.exit_signal, r.body "
    "FROM jobs j LEFT JOIN attempts a ON a.job = j.seq AND a.number = j.attempt "
    "LEFT JOIN reports r ON r.job = j.seq AND r.attempt = j.reported WHERE j.seq = ?";

Error damaged(std::string_view what, const Error& cause) {
  return {.code = Errc::corrupt,
          .message = "the database is damaged: " + std::string(what) + ": " + cause.message,
          .pointer = {},
          .type = {}};
}

Result<std::optional<model::Report>> read_report(std::string_view text) {
  auto report = model::from_json_text<model::Report>(text, {}, model::UnknownMembers::ignore);
  if (!report) return damaged("a report", report.error());
  return std::optional(std::move(*report));
}

Result<AttemptRow> read_attempt(const Statement& row, int at, JobId job) {
  AttemptRow attempt;
  attempt.id = {job, static_cast<std::uint32_t>(row.integer(at))};
  attempt.gpus = read_numbers(row.text(at + 1));
  attempt.ports = read_numbers(row.text(at + 2));
  attempt.memory_bytes = row.integer(at + 3);
  attempt.tier = row.text(at + 4);
  attempt.boot_id = row.text(at + 5);
  attempt.pid = row.optional_int(at + 6);
  attempt.started_at = row.optional_time(at + 7);
  attempt.stop_asked_at = row.optional_time(at + 8);
  if (!row.is_null(at + 9)) {
    auto reason = read_reason(row.text(at + 9));
    if (!reason) return damaged("attempt " + attempt.id.str(), reason.error());
    attempt.stop_reason = std::move(*reason);
  }
  attempt.ended_at = row.optional_time(at + 10);
  attempt.exit = {.code = row.optional_int(at + 11), .signal = row.optional_int(at + 12)};
  return attempt;
}

}  // namespace

Result<Reader> Reader::open(const std::filesystem::path& path) {
  auto connection = Connection::open(path, true);
  if (!connection) return std::move(connection).error();
  if (auto set = connection->execute("PRAGMA cache_size = -4096; PRAGMA cell_size_check = ON"); !set) {
    return std::move(set).error();
  }
  Reader reader(std::move(*connection));
  const std::pair<Statement*, const char*> all[] = {
      {&reader.record_, kRecord},
      {&reader.seq_of_, "SELECT seq FROM jobs WHERE id = ?"},
      {&reader.known_,
       "SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1) OR EXISTS (SELECT 1 FROM used_ids WHERE id = ?1)"},
      {&reader.identity_, "SELECT identity FROM surroundings WHERE id = ?"},
      {&reader.environment_, "SELECT environment FROM surroundings WHERE id = ?"},
      {&reader.report_,
       "SELECT body FROM reports WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND attempt = ?"},
      {&reader.last_report_,
       "SELECT body FROM reports WHERE job = (SELECT seq FROM jobs WHERE id = ?) ORDER BY attempt DESC LIMIT "
       "1"},
      {&reader.idempotent_, "SELECT body_hash, job FROM idempotency WHERE user = ? AND key = ? AND at >= ?"},
      {&reader.value_, "SELECT value FROM named_values WHERE name = ?"},
  };
  for (const auto& [statement, sql] : all) {
    auto prepared = Statement::prepare(reader.connection_, sql);
    if (!prepared) return std::move(prepared).error();
    *statement = std::move(*prepared);
  }
  return reader;
}

Result<void> Reader::fill_surroundings(std::int64_t id, bool with_environment, Surroundings& out) {
  const auto missing = [] {
    return damaged("a job's surroundings", {.code = {}, .message = "not there", .pointer = {}, .type = {}});
  };
  auto known = identities_.find(id);
  if (known == identities_.end()) {
    identity_.query(id);
    auto found = identity_.next();
    if (!found) return std::move(found).error();
    if (!*found) return missing();
    auto identity = read_surroundings(identity_.text(0));
    identity_.reset();
    if (!identity) return std::move(identity).error();
    if (identities_.size() >= kRememberedIdentities) identities_.clear();
    known = identities_.emplace(id, std::move(*identity)).first;
  }
  out = known->second;
  if (!with_environment) return {};
  environment_.query(id);
  auto found = environment_.next();
  if (!found) return std::move(found).error();
  if (!*found) return missing();
  out.environment = read_environment(environment_.text(0));
  environment_.reset();
  return {};
}

Result<JobRecord> Reader::read_record(std::int64_t seq, bool with_environment) {
  const Statement& row = record_;
  JobRecord record;
  record.row.id = JobId(static_cast<std::uint32_t>(row.integer(0)));
  record.row.seq = seq;
  record.state = read_state(row.small(1));
  record.row.submitted_at = row.time(2);
  record.row.user = row.text(3);
  auto spec = read_spec(row.text(10));
  if (!spec) return std::move(spec).error();
  record.row.spec = std::move(*spec);
  record.row.spec.name = row.text(4);
  record.row.spec.group = row.text(5);
  record.row.origin = row.optional_text(6);
  record.row.server_url = row.optional_text(7);
  if (auto filled = fill_surroundings(row.integer(9), with_environment, record.row.surroundings); !filled) {
    return std::move(filled).error();
  }
  record.row.surroundings.workdir = row.text(8);
  if (!row.is_null(11)) {
    auto attempt = read_attempt(row, 11, record.row.id);
    if (!attempt) return std::move(attempt).error();
    record.attempt = std::move(*attempt);
  }
  if (!row.is_null(24)) {
    auto report = read_report(row.text(24));
    if (!report) return std::move(report).error();
    record.report = std::move(*report);
  }
  return record;
}

Result<std::optional<JobRecord>> Reader::record(std::int64_t seq, bool with_environment) {
  record_.query(seq);
  auto found = record_.next();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<JobRecord>();
  auto read = read_record(seq, with_environment);
  record_.reset();
  if (!read) return std::move(read).error();
  return std::optional(std::move(*read));
}

Result<std::optional<JobRecord>> Reader::job(JobId id) {
  seq_of_.query(id.value());
  auto found = seq_of_.next();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<JobRecord>();
  const std::int64_t seq = seq_of_.integer(0);
  seq_of_.reset();
  return record(seq, true);
}

// The numbers of the jobs that match, at most query.limit of them, in the query's order. The index is named,
// since SQLite has no figures here to choose it by and a wrong choice would read the whole table.
Result<std::vector<std::int64_t>> Reader::select(const JobQuery& query, std::optional<JobState> state) {
  std::string sql = "SELECT seq FROM jobs";
  std::vector<std::function<void(Statement&, int)>> values;
  std::string where;
  const auto condition = [&](const char* text, const auto& value) {
    where += where.empty() ? " WHERE " : " AND ";
    where += text;
    values.emplace_back([&value](Statement& statement, int at) { statement.bind(at, value); });
  };
  const std::optional<int> stored = state ? std::optional(stored_state(*state)) : std::nullopt;
  std::optional<std::int64_t> first;
  if (query.since) {
    auto statement = Statement::prepare(
        connection_, "SELECT min(seq) FROM jobs INDEXED BY jobs_by_submission WHERE submitted_at >= ?");
    if (!statement) return std::move(statement).error();
    statement->query(*query.since);
    auto row = statement->next();
    if (!row) return std::move(row).error();
    if (!*row || statement->is_null(0)) return std::vector<std::int64_t>();
    first = statement->integer(0);
  }
  if (query.name) {
    sql += " INDEXED BY jobs_by_name";
    condition("name <> '' AND name = ?", *query.name);
  } else if (query.group) {
    sql += " INDEXED BY jobs_by_group";
  } else if (query.user && stored) {
    sql += " INDEXED BY jobs_by_user";
  } else if (stored) {
    sql += " INDEXED BY jobs_by_state";
  } else {
    sql += " NOT INDEXED";
  }
  if (query.group) condition("\"group\" <> '' AND \"group\" = ?", *query.group);
  if (query.user) condition("user = ?", *query.user);
  if (stored) condition("state = ?", *stored);
  if (query.since) condition("submitted_at >= ?", *query.since);
  if (first) condition("seq >= ?", *first);
  if (query.before_seq) condition("seq < ?", *query.before_seq);
  if (query.after_seq) condition("seq > ?", *query.after_seq);
  condition(query.oldest_first ? "1 ORDER BY seq LIMIT ?" : "1 ORDER BY seq DESC LIMIT ?", query.limit);

  auto statement = Statement::prepare(connection_, sql + where, false);
  if (!statement) return std::move(statement).error();
  for (std::size_t i = 0; i < values.size(); ++i) values[i](*statement, static_cast<int>(i) + 1);
  std::vector<std::int64_t> found;
  for (;;) {
    auto row = statement->next();
    if (!row) return std::move(row).error();
    if (!*row) return found;
    found.push_back(statement->integer(0));
  }
}

Result<std::vector<JobRecord>> Reader::jobs(const JobQuery& query) {
  constexpr std::array kAll = {JobState::queued,    JobState::starting,  JobState::running,
                               JobState::releasing, JobState::completed, JobState::failed,
                               JobState::cancelled};
  std::vector<std::optional<JobState>> states(query.states.begin(), query.states.end());
  if (states.empty() && query.user && !query.name && !query.group) states.assign(kAll.begin(), kAll.end());
  if (states.empty()) states.emplace_back();
  std::vector<std::int64_t> seqs;
  for (const auto& state : states) {
    auto some = select(query, state);
    if (!some) return std::move(some).error();
    seqs.insert(seqs.end(), some->begin(), some->end());
  }
  if (query.oldest_first) {
    std::ranges::sort(seqs);
  } else {
    std::ranges::sort(seqs, std::greater());
  }
  seqs.erase(std::unique(seqs.begin(), seqs.end()), seqs.end());
  if (seqs.size() > static_cast<std::size_t>(std::max(query.limit, 0))) {
    seqs.resize(static_cast<std::size_t>(std::max(query.limit, 0)));
  }
  std::vector<JobRecord> records;
  records.reserve(seqs.size());
  for (const std::int64_t seq : seqs) {
    auto one = record(seq, false);
    if (!one) return std::move(one).error();
    if (*one) records.push_back(std::move(**one));
  }
  return records;
}

Result<void> Reader::each_live_job(const std::function<void(const JobRecord&)>& visit) {
  // One snapshot for all of it; the numbers first, since they come by state and are wanted by age.
  if (auto begun = connection_.execute("BEGIN"); !begun) return begun;
  const auto finish = [&](Result<void> result) {
    sqlite3_exec(connection_.get(), "COMMIT", nullptr, nullptr, nullptr);
    return result;
  };
  std::vector<std::int64_t> seqs;
  auto statement =
      Statement::prepare(connection_, "SELECT seq FROM jobs INDEXED BY jobs_by_state WHERE state < ?", false);
  if (!statement) return finish(std::move(statement).error());
  statement->query(kFirstEnded);
  for (;;) {
    auto row = statement->next();
    if (!row) return finish(std::move(row).error());
    if (!*row) break;
    seqs.push_back(statement->integer(0));
  }
  std::ranges::sort(seqs);
  for (const std::int64_t seq : seqs) {
    auto one = record(seq, false);
    if (!one) return finish(std::move(one).error());
    if (*one) visit(**one);
  }
  return finish({});
}

Result<bool> Reader::known(JobId id) {
  known_.query(id.value());
  auto row = known_.next();
  if (!row) return std::move(row).error();
  const bool known = *row && known_.integer(0) != 0;
  known_.reset();
  return known;
}

Result<std::vector<JobId>> Reader::ids(Statement& statement) {
  std::vector<JobId> found;
  for (;;) {
    auto row = statement.next();
    if (!row) return std::move(row).error();
    if (!*row) return found;
    found.emplace_back(static_cast<std::uint32_t>(statement.integer(0)));
  }
}

Result<std::vector<Store::EndedJob>> Reader::ended_after(Store::EndedAt after, int limit) {
  auto statement = Statement::prepare(
      connection_,
      "SELECT id, ended_at, seq, attempt, seq = (SELECT max(seq) FROM jobs) OR id IN "
      "(SELECT job FROM quarantine WHERE job IS NOT NULL) FROM jobs INDEXED BY jobs_by_end WHERE ended_at IS "
      "NOT NULL AND (ended_at, seq) > (?, ?) ORDER BY ended_at, seq LIMIT ?",
      false);
  if (!statement) return std::move(statement).error();
  statement->query(after.at, after.seq, limit);
  std::vector<Store::EndedJob> found;
  for (;;) {
    auto row = statement->next();
    if (!row) return std::move(row).error();
    if (!*row) return found;
    found.push_back({.id = JobId(static_cast<std::uint32_t>(statement->integer(0))),
                     .ended = {.at = statement->time(1), .seq = statement->integer(2)},
                     .attempts = statement->small(3),
                     .kept = statement->integer(4) != 0});
  }
}

Result<std::vector<JobId>> Reader::with_prefix(std::string_view prefix, int limit) {
  constexpr std::size_t kDigits = 8;
  const auto fits = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (prefix.empty() || prefix.size() > kDigits || !std::ranges::all_of(prefix, fits)) {
    return std::vector<JobId>();
  }
  std::string low(prefix), high(prefix);
  low.resize(kDigits, '0');
  high.resize(kDigits, 'f');
  auto statement = Statement::prepare(
      connection_, "SELECT id FROM jobs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", false);
  if (!statement) return std::move(statement).error();
  statement->query(JobId::parse(low)->value(), JobId::parse(high)->value(), limit);
  return ids(*statement);
}

Result<std::optional<model::Report>> Reader::report(JobId id, std::optional<int> attempt) {
  Statement& statement = attempt ? report_ : last_report_;
  if (attempt) {
    statement.query(id.value(), *attempt);
  } else {
    statement.query(id.value());
  }
  auto found = statement.next();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<model::Report>();
  auto report = read_report(statement.text(0));
  statement.reset();
  return report;
}

Result<std::vector<QuarantineRow>> Reader::quarantined() {
  auto statement = Statement::prepare(
      connection_, "SELECT gpu, uuid, why, job, attempt FROM quarantine ORDER BY gpu", false);
  if (!statement) return std::move(statement).error();
  std::vector<QuarantineRow> rows;
  for (;;) {
    auto row = statement->next();
    if (!row) return std::move(row).error();
    if (!*row) return rows;
    QuarantineRow& one = rows.emplace_back();
    one.gpu = statement->small(0);
    one.uuid = statement->text(1);
    one.why = statement->text(2);
    if (!statement->is_null(3)) {
      one.attempt = {JobId(static_cast<std::uint32_t>(statement->integer(3))),
                     static_cast<std::uint32_t>(statement->integer(4))};
    }
  }
}

Result<std::vector<model::Event>> Reader::events_after(std::int64_t seq, int limit) {
  auto statement =
      Statement::prepare(connection_,
                         "SELECT seq, at, type, job, user, state, detail FROM events WHERE seq > ? "
                         "ORDER BY seq LIMIT ?",
                         false);
  if (!statement) return std::move(statement).error();
  statement->query(seq, limit);
  std::vector<model::Event> events;
  for (;;) {
    auto row = statement->next();
    if (!row) return std::move(row).error();
    if (!*row) return events;
    model::Event& event = events.emplace_back();
    event.seq = statement->integer(0);
    event.at = statement->time(1);
    event.type = statement->text(2);
    if (!statement->is_null(3)) event.job = JobId(static_cast<std::uint32_t>(statement->integer(3)));
    event.user = statement->optional_text(4);
    if (!statement->is_null(5)) event.state = read_state(statement->small(5));
    event.detail = statement->optional_text(6);
  }
}

Result<Store::EventRange> Reader::event_range() {
  auto first = connection_.number("SELECT coalesce(min(seq), 0) FROM events");
  if (!first) return std::move(first).error();
  auto last = connection_.number("SELECT coalesce(max(seq), 0) FROM events");
  if (!last) return std::move(last).error();
  return Store::EventRange{.first = *first, .last = *last};
}

Result<std::optional<Store::Idempotent>> Reader::idempotent(const std::string& user, const std::string& key,
                                                            WallTime not_before) {
  idempotent_.query(user, key, not_before);
  auto found = idempotent_.next();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<Store::Idempotent>();
  Store::Idempotent answer{.body_hash = std::string(idempotent_.text(0)),
                           .job = JobId(static_cast<std::uint32_t>(idempotent_.integer(1)))};
  idempotent_.reset();
  return std::optional(std::move(answer));
}

Result<std::vector<UserRow>> Reader::users(const char* where, std::optional<std::string> value) {
  const std::string sql =
      "SELECT user_id, name, key_hash, created_at, admin, templates_only, account, revoked_at FROM users " +
      std::string(where);
  auto statement = Statement::prepare(connection_, sql, false);
  if (!statement) return std::move(statement).error();
  if (value) statement->query(*value);
  std::vector<UserRow> rows;
  for (;;) {
    auto row = statement->next();
    if (!row) return std::move(row).error();
    if (!*row) return rows;
    UserRow& one = rows.emplace_back();
    one.user.user_id = statement->text(0);
    one.user.name = statement->text(1);
    one.key_hash = statement->text(2);
    one.user.created_at = statement->time(3);
    one.user.admin = statement->integer(4) != 0;
    one.user.templates_only = statement->integer(5) != 0;
    one.user.account = statement->optional_text(6);
    one.user.revoked_at = statement->optional_time(7);
  }
}

Result<std::optional<std::string>> Reader::value(const std::string& name) {
  value_.query(name);
  auto found = value_.next();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<std::string>();
  std::string text(value_.text(0));
  value_.reset();
  return std::optional(std::move(text));
}

}  // namespace ebb::store
