#include "sqlite.h"

#include <cerrno>

namespace ebb::store {
namespace {

bool out_of_space(int errno_value) {
  return errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EFBIG;
}

}  // namespace

Result<Connection> Connection::open(const std::filesystem::path& path, bool read_only) {
  sqlite3* handle = nullptr;
  // SQLite's own locks are left out: one thread at a time uses a connection.
  const int flags =
      (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
  const int status = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Connection connection(handle);  // also after a failure there is a handle to close
  if (status != SQLITE_OK) return connection.error();
  sqlite3_extended_result_codes(handle, 1);
  // A file that somebody else writes (an administrator's sqlite3) is waited for this long, by the writer
  // only.
  constexpr int kBusyMs = 10'000;
  sqlite3_busy_timeout(handle, kBusyMs);
  return connection;
}

Result<void> Connection::execute(const char* sql) {
  if (sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error();
  return {};
}

Result<std::int64_t> Connection::number(const char* sql) {
  auto statement = Statement::prepare(*this, sql, false);
  if (!statement) return std::move(statement).error();
  auto row = statement->next();
  if (!row) return std::move(row).error();
  return *row ? statement->integer(0) : 0;
}

Severity severity_of(sqlite3* handle) {
  const int code = sqlite3_extended_errcode(handle);
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Severity::fatal;
    case SQLITE_IOERR:
      if (code == SQLITE_IOERR_NOMEM) return Severity::later;
      // A write that found no room left the log as it was; a failed fsync leaves nobody knowing.
      if (code != SQLITE_IOERR_FSYNC && code != SQLITE_IOERR_DIR_FSYNC &&
          out_of_space(sqlite3_system_errno(handle))) {
        return Severity::later;
      }
      return Severity::fatal;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return Severity::later;
    default:
      return Severity::batch;
  }
}

Error failure_of(sqlite3* handle) {
  const int code = handle != nullptr ? sqlite3_extended_errcode(handle) : SQLITE_NOMEM;
  const std::string what = handle != nullptr ? sqlite3_errmsg(handle) : "no memory";
  const int system = handle != nullptr ? sqlite3_system_errno(handle) : 0;
  const char* name = handle != nullptr ? sqlite3_db_filename(handle, "main") : nullptr;
  const std::string path = name != nullptr ? name : "";
  const std::string file = "the database " + path;
  const auto make = [&](Errc kind, std::string text) {
    return Error{.code = kind, .message = std::move(text), .pointer = {}, .type = {}};
  };
  const int kind = code & 0xff;
  if (kind == SQLITE_FULL || (kind == SQLITE_IOERR && out_of_space(system))) {
    return make(
        Errc::io,
        file + " cannot grow: its disk or quota is full; nothing was changed; make room and try again");
  }
  switch (kind) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return make(
          Errc::corrupt,
          file + " is damaged (" + what +
              "); stop the daemon, keep a copy, then restore a backup, save what can be read with 'sqlite3 " +
              path + " .recover', or move it away to begin with an empty one");
    case SQLITE_READONLY:
      return make(Errc::io,
                  file + " cannot be written (" + what +
                      "); check the owner and mode of the file and whether its file system is mounted "
                      "read-only");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return make(Errc::io, file + " is locked by another program (an sqlite3 shell?); close that");
    case SQLITE_CONSTRAINT:
      return make(Errc::conflict, "the database refused a record: " + what);
    default:
      if (system != 0) return errno_error(system, file + ": " + what);
      return make(Errc::io, file + ": " + what);
  }
}

Result<Statement> Statement::prepare(Connection& connection, std::string_view sql, bool keep) {
  Statement statement;
  sqlite3_stmt* handle = nullptr;
  const unsigned flags = keep ? SQLITE_PREPARE_PERSISTENT : 0;
  if (sqlite3_prepare_v3(connection.get(), sql.data(), static_cast<int>(sql.size()), flags, &handle,
                         nullptr) != SQLITE_OK) {
    return connection.error();
  }
  statement.handle_.reset(handle);
  return statement;
}

void Statement::bind(int at, std::string_view value) {
  // A null pointer would bind NULL. The destructor argument says that the text outlives the statement's run.
  sqlite3_bind_text64(handle_.get(), at, value.data() != nullptr ? value.data() : "", value.size(), nullptr,
                      SQLITE_UTF8);
}

void Statement::bind(int at, Blob value) {
  sqlite3_bind_blob64(handle_.get(), at, value.bytes.data() != nullptr ? value.bytes.data() : "",
                      value.bytes.size(), nullptr);
}

Result<bool> Statement::next() {
  const int status = sqlite3_step(handle_.get());
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) {
    reset();
    return false;
  }
  Error error = failure_of(sqlite3_db_handle(handle_.get()));
  reset();
  return error;
}

Result<void> Statement::finish() {
  auto row = next();
  if (!row) return std::move(row).error();
  return {};
}

std::string_view Statement::text(int column) const {
  const void* data = sqlite3_column_blob(handle_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column));
  return data == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(data), size);
}

std::optional<std::string> Statement::optional_text(int column) const {
  if (is_null(column)) return std::nullopt;
  return std::string(text(column));
}

std::optional<int> Statement::optional_int(int column) const {
  if (is_null(column)) return std::nullopt;
  return small(column);
}

std::optional<WallTime> Statement::optional_time(int column) const {
  if (is_null(column)) return std::nullopt;
  return time(column);
}

}  // namespace ebb::store
