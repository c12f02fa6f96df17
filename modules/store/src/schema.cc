#include "schema.h"

#include <array>

namespace ebb::store {
namespace {

// Each step leads from the version before to its own. A step is never changed once it has been released: a
// database that a user has may stand on it.
//
// The key of a job within the database is its number in order of submission, so that new rows go to the end
// of the tables, what one job needs lies together, and "newest first" is the order of the table itself; the
// id that people see is random.
constexpr const char* kVersion1 = R"sql(
  CREATE TABLE surroundings (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    identity TEXT NOT NULL,
    environment BLOB NOT NULL
  );
  CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id INTEGER NOT NULL UNIQUE,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    reported INTEGER,
    ended_at INTEGER,
    submitted_at INTEGER NOT NULL,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    "group" TEXT NOT NULL,
    origin TEXT,
    server_url TEXT,
    workdir TEXT NOT NULL,
    surroundings INTEGER NOT NULL REFERENCES surroundings(id),
    spec TEXT NOT NULL
  );
  CREATE INDEX jobs_by_state ON jobs (state);
  CREATE INDEX jobs_by_user ON jobs (user, state);
  CREATE INDEX jobs_by_name ON jobs (name) WHERE name <> '';
  CREATE INDEX jobs_by_group ON jobs ("group") WHERE "group" <> '';
  CREATE INDEX jobs_by_submission ON jobs (submitted_at);
  CREATE INDEX jobs_by_surroundings ON jobs (surroundings);
  CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE ended_at IS NOT NULL;
  CREATE TABLE used_ids (id INTEGER PRIMARY KEY);
  CREATE TABLE attempts (
    job INTEGER NOT NULL REFERENCES jobs(seq),
    number INTEGER NOT NULL,
    gpus TEXT NOT NULL,
    ports TEXT NOT NULL,
    memory_bytes INTEGER NOT NULL,
    tier TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    pid INTEGER,
    started_at INTEGER,
    stop_asked_at INTEGER,
    stop_reason TEXT,
    ended_at INTEGER,
    exit_code INTEGER,
    exit_signal INTEGER,
    PRIMARY KEY (job, number)
  ) WITHOUT ROWID;
  CREATE TABLE reports (
    job INTEGER NOT NULL REFERENCES jobs(seq),
    attempt INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job, attempt)
  ) WITHOUT ROWID;
  CREATE TABLE quarantine (
    gpu INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL,
    why TEXT NOT NULL,
    job INTEGER,
    attempt INTEGER
  );
  CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    job INTEGER,
    user TEXT,
    state INTEGER,
    detail TEXT
  );
  CREATE TABLE idempotency (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    job INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (user, key)
  ) WITHOUT ROWID;
  CREATE INDEX idempotency_by_age ON idempotency (at);
  CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    admin INTEGER NOT NULL,
    templates_only INTEGER NOT NULL,
    account TEXT,
    revoked_at INTEGER
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX users_by_name ON users (name) WHERE revoked_at IS NULL;
  CREATE UNIQUE INDEX users_by_key ON users (key_hash) WHERE key_hash <> '';
  CREATE TABLE named_values (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
)sql";

constexpr std::array<const char*, kSchemaVersion> kSteps = {kVersion1};

Error refused(Errc code, std::string message) {
  return {.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

Result<void> check_identity(Connection& connection, const std::filesystem::path& path, std::int64_t version) {
  const std::string file = "the database " + path.string();
  auto application = connection.number("PRAGMA application_id");
  if (!application) return std::move(application).error();
  auto tables = connection.number("SELECT count(*) FROM sqlite_schema");
  if (!tables) return std::move(tables).error();
  const bool empty = *application == 0 && version == 0 && *tables == 0;
  if (!empty && *application != kApplicationId) {
    return refused(Errc::corrupt, file +
                                      " is not one of Ebb's; move it away, or choose another state directory "
                                      "with --state DIR");
  }
  if (version > kSchemaVersion) {
    return refused(Errc::corrupt,
                   file + " has version " + std::to_string(version) + ", and this program knows up to " +
                       std::to_string(kSchemaVersion) +
                       ": use the newer ebb that made it, or choose another state directory with "
                       "--state DIR; nothing was changed");
  }
  return {};
}

// Looks through a database that is small enough for that to go unnoticed; damage in a large one is found when
// the page is read.
Result<void> check_pages(Connection& connection) {
  constexpr std::int64_t kMostPages = 4096;
  auto pages = connection.number("PRAGMA page_count");
  if (!pages) return std::move(pages).error();
  if (*pages > kMostPages) return {};
  auto statement = Statement::prepare(connection, "PRAGMA quick_check(1)", false);
  if (!statement) return std::move(statement).error();
  auto row = statement->next();
  if (!row) return std::move(row).error();
  if (!*row || statement->text(0) == "ok") return {};
  return refused(Errc::corrupt, std::string(statement->text(0)));
}

}  // namespace

Result<void> prepare_database(Connection& connection, const std::filesystem::path& path) {
  auto version = connection.number("PRAGMA user_version");
  if (!version) return std::move(version).error();
  if (auto ours = check_identity(connection, path, *version); !ours) return ours;
  if (auto whole = check_pages(connection); !whole) {
    if (whole.error().code != Errc::corrupt || whole.error().message.starts_with("the database"))
      return whole;
    return refused(Errc::corrupt,
                   "the database " + path.string() + " is damaged (" + whole.error().message +
                       "); keep a copy, then restore a backup, save what can be read with 'sqlite3 " +
                       path.string() + " .recover', or move it away to begin with an empty one");
  }
  // The journal's mode cannot change within a transaction. Checkpoints are the writer's own business, since
  // they must not delay a commit's answer.
  if (auto set = connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                    "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;"
                                    "PRAGMA cell_size_check = ON; PRAGMA cache_size = -4096;");
      !set) {
    return set;
  }
  if (*version == kSchemaVersion) return {};
  if (auto begun = connection.execute("BEGIN EXCLUSIVE"); !begun) return begun;
  std::string finish = "PRAGMA application_id = " + std::to_string(kApplicationId) +
                       "; PRAGMA user_version = " + std::to_string(kSchemaVersion) + "; COMMIT";
  for (auto step = static_cast<std::size_t>(*version); step < kSteps.size(); ++step) {
    if (auto done = connection.execute(kSteps[step]); !done) {
      sqlite3_exec(connection.get(), "ROLLBACK", nullptr, nullptr, nullptr);
      return done;
    }
  }
  if (auto done = connection.execute(finish.c_str()); !done) {
    sqlite3_exec(connection.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    return done;
  }
  return {};
}

}  // namespace ebb::store
