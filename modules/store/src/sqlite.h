// A thin layer over SQLite's C interface: connections and statements that clean up after themselves, and
// failures in our words. One thread at a time uses a connection and its statements.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"

namespace ebb::store {

/// What a failed call means for those who wait for it.
enum class Severity {
  batch,  ///< of what was asked alone: a constraint
  later,  ///< of the surroundings: no space, locked by somebody; it may work again
  fatal,  ///< nobody knows what is on disk, or the file is damaged
};

/// The failure that the last call on this connection met, in words, with what to do about it.
[[nodiscard]] Error failure_of(sqlite3* handle);
[[nodiscard]] Severity severity_of(sqlite3* handle);

/// Bytes that are bound as they are, where std::string_view binds text.
struct Blob {
  std::string_view bytes;
};

class Connection {
 public:
  /// Opens the existing file `path`.
  [[nodiscard]] static Result<Connection> open(const std::filesystem::path& path, bool read_only);

  /// Runs statements that give no rows.
  [[nodiscard]] Result<void> execute(const char* sql);
  /// The one number that `sql` gives ("PRAGMA user_version").
  [[nodiscard]] Result<std::int64_t> number(const char* sql);
  [[nodiscard]] Error error() const { return failure_of(get()); }
  [[nodiscard]] Severity severity() const { return severity_of(get()); }
  [[nodiscard]] sqlite3* get() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  explicit Connection(sqlite3* handle) : handle_(handle) {}
  std::unique_ptr<sqlite3, Close> handle_;
};

/// A prepared statement. Bound strings must live until the statement is reset, which happens when run() ends,
/// when next() finds no more, or by reset(). It must be destroyed before its connection.
class Statement {
 public:
  Statement() = default;
  [[nodiscard]] static Result<Statement> prepare(Connection& connection, std::string_view sql,
                                                 bool keep = true);

  /// Binds all parameters and runs a statement that gives no rows.
  template <typename... A>
  [[nodiscard]] Result<void> run(const A&... arguments) {
    bind_all(arguments...);
    return finish();
  }
  /// Binds all parameters; then each next() gives a row, or false at the end.
  template <typename... A>
  void query(const A&... arguments) {
    bind_all(arguments...);
  }
  [[nodiscard]] Result<bool> next();
  void reset() { sqlite3_reset(handle_.get()); }

  /// Binds one parameter, from 1; text must live as above.
  void bind(int at, std::int64_t value) { sqlite3_bind_int64(handle_.get(), at, value); }
  void bind(int at, std::uint32_t value) { bind(at, std::int64_t{value}); }
  void bind(int at, int value) { bind(at, std::int64_t{value}); }
  void bind(int at, bool value) { bind(at, std::int64_t{value}); }
  void bind(int at, WallTime value) { bind(at, std::int64_t{value.time_since_epoch().count()}); }
  void bind(int at, std::string_view value);
  void bind(int at, Blob value);
  void bind(int at, const std::string& value) { bind(at, std::string_view(value)); }
  void bind(int at, const char* value) { bind(at, std::string_view(value)); }
  template <typename T>
  void bind(int at, const std::optional<T>& value) {
    if (value) {
      bind(at, *value);
    } else {
      sqlite3_bind_null(handle_.get(), at);
    }
  }

  /// Columns of the row that next() found, from 0. Text lives until the next call of next().
  [[nodiscard]] bool is_null(int column) const {
    return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
  }
  [[nodiscard]] std::int64_t integer(int column) const { return sqlite3_column_int64(handle_.get(), column); }
  [[nodiscard]] int small(int column) const { return sqlite3_column_int(handle_.get(), column); }
  [[nodiscard]] std::string_view text(int column) const;
  [[nodiscard]] WallTime time(int column) const { return WallTime(Duration(integer(column))); }
  [[nodiscard]] std::optional<std::string> optional_text(int column) const;
  [[nodiscard]] std::optional<int> optional_int(int column) const;
  [[nodiscard]] std::optional<WallTime> optional_time(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const { sqlite3_finalize(handle); }
  };
  template <typename... A>
  void bind_all(const A&... arguments) {
    int at = 0;
    (bind(++at, arguments), ...);
  }
  [[nodiscard]] Result<void> finish();

  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

}  // namespace ebb::store
