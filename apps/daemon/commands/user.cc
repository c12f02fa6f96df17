#include <sqlite3.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <memory>

#include "commands.h"
#include "ebb/base/text.h"
#include "ebb/client/command_line.h"
#include "server_option.h"
#include "table.h"

namespace ebb::cli {
namespace {

Error usage(std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

struct ForeignUser {
  std::string id;
  std::string name;
  std::string key;
  bool admin = false;
};

using Database = std::unique_ptr<sqlite3, decltype([](sqlite3* db) { sqlite3_close_v2(db); })>;
using Statement = std::unique_ptr<sqlite3_stmt, decltype([](sqlite3_stmt* s) { sqlite3_finalize(s); })>;

std::string column(sqlite3_stmt* row, int index) {
  const unsigned char* text = sqlite3_column_text(row, index);
  const int size = sqlite3_column_bytes(row, index);
  if (text == nullptr) return {};
  return {text, text + size};
}

// The original scheduler's table: users(user_id, username, api_key, created_at, is_admin), keys in plain
// text.
Result<std::vector<ForeignUser>> read_users(const std::string& file) {
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READONLY, nullptr);
  const Database database(raw);
  if (opened != SQLITE_OK) return usage("cannot open " + file + ": " + sqlite3_errstr(opened));
  sqlite3_stmt* prepared = nullptr;
  const int found = sqlite3_prepare_v2(
      database.get(), "SELECT user_id, username, api_key, is_admin FROM users ORDER BY created_at, username",
      -1, &prepared, nullptr);
  const Statement rows(prepared);
  if (found != SQLITE_OK) {
    return usage(file + " is no user database of the original scheduler: " + sqlite3_errmsg(database.get()));
  }
  constexpr std::size_t kMostUsers = 100'000;
  std::vector<ForeignUser> users;
  int step = SQLITE_ROW;
  while ((step = sqlite3_step(rows.get())) == SQLITE_ROW && users.size() < kMostUsers) {
    users.push_back({.id = column(rows.get(), 0),
                     .name = column(rows.get(), 1),
                     .key = column(rows.get(), 2),
                     .admin = sqlite3_column_int(rows.get(), 3) != 0});
  }
  if (step != SQLITE_DONE) return usage("cannot read " + file + ": " + sqlite3_errmsg(database.get()));
  return users;
}

Result<std::string> import_as(client::Client& client, const std::string& name, const ForeignUser& user) {
  if (!is_utf8(name)) {
    return Error{
        .code = Errc::invalid, .message = "its name is no UTF-8 text", .pointer = {}, .type = "invalid-name"};
  }
  const boost::json::value body = {{"name", name}, {"admin", user.admin}, {"api_key", user.key}};
  return client.call({.method = "POST", .target = "/v1/users/import", .body = boost::json::serialize(body)});
}

// By its own name; where that is none here, or an account's, by its id: always the same, so that a second
// import makes nobody twice, and nobody anew who was revoked.
Result<void> import_user(client::Client& client, const ForeignUser& user) {
  const auto named = import_as(client, user.name, user);
  if (named) return {};
  if (named.error().type != "invalid-name" && named.error().type != "local-account") return named.error();
  const auto by_id = import_as(client, user.id, user);
  if (!by_id) return by_id.error();
  say(user.name + " is imported as " + user.id + ": " + named.error().message);
  return {};
}

int import_users(client::Client& client, const std::string& file) {
  const auto users = read_users(file);
  if (!users) return fail(users.error());
  int status = kDone;
  int done = 0;
  for (const ForeignUser& user : *users) {
    if (const auto imported = import_user(client, user)) {
      ++done;
    } else {
      say(user.name + ": " + imported.error().message);
      status = client::command_exit_status(imported.error());
    }
  }
  say(std::to_string(done) + " of " + std::to_string(users->size()) +
      " users imported; their keys go on working. " + file + " still holds them in plain text: delete it");
  return status;
}

std::string users_text(const model::UserList& list) {
  Table table({"NAME", "ID", "ADMIN", "ACCOUNT", "CREATED", "STATE"});
  for (const model::User& user : list.items) {
    table.add({user.name, user.user_id, user.admin ? "yes" : "no", user.account.value_or("-"),
               format_time(user.created_at),
               user.revoked_at ? "revoked" : (user.templates_only ? "templates only" : "active")});
  }
  return table.text();
}

// Prints the answer's key alone, so that `KEY=$(ebb user add NAME)` works.
int print_key(const Result<std::string>& answer, bool json) {
  if (!answer) return fail(answer.error());
  if (json) return print_json(*answer);
  const auto key = client::Client::parse_answer<model::UserKey>(*answer);
  if (!key) return fail(key.error());
  return print(key->api_key + '\n');
}

}  // namespace

int user_main(Words words) {
  Parser parser("user", "Users and their API keys; a key is shown once, and kept only as a hash",
                "ebb user add bob --unix bob > bob.key");
  const ServerOption server(parser);
  bool json = false;
  parser.add_flag("--json", json, "print the answer as JSON");
  std::string name, account, file;
  bool admin = false, templates_only = false;
  auto* add = parser.add_subcommand("add", "Make a user and print the key alone");
  add->add_option("NAME", name, "its name")->required();
  add->add_option("--unix", account, "the account that its jobs run as");
  add->add_flag("--admin", admin, "may act for others");
  add->add_flag("--templates-only", templates_only, "may run job templates only");
  auto* list = parser.add_subcommand("list", "All users");
  auto* rotate = parser.add_subcommand("rotate", "Print a new key; the old one ends");
  rotate->add_option("NAME", name, "whose")->required();
  auto* revoke = parser.add_subcommand("revoke", "End a user's key");
  revoke->add_option("NAME", name, "whose")->required();
  auto* import = parser.add_subcommand("import", "Take over users of the original scheduler");
  import->add_option("FILE", file, "its scheduler_users.db")->required();
  parser.require_subcommand(1);
  for (auto* subcommand : {add, list, rotate, revoke, import}) subcommand->fallthrough();
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());

  const std::string one = "/v1/users/" + client::percent_encoded(name);
  if (add->parsed()) {
    model::UserRequest request{.name = name, .admin = admin, .templates_only = templates_only, .account = {}};
    if (!account.empty()) request.account = account;
    return print_key(
        client->call({.method = "POST", .target = "/v1/users", .body = model::json_text(request)}), json);
  }
  if (rotate->parsed()) return print_key(client->call({.method = "POST", .target = one + "/rotate"}), json);
  if (import->parsed()) return import_users(*client, file);
  auto body = revoke->parsed() ? client->call({.method = "DELETE", .target = one}) : client->get("/v1/users");
  if (!body) return fail(body.error());
  if (json) return print_json(*body);
  if (revoke->parsed()) return say(name + "'s key is revoked; jobs that run go on"), kDone;
  const auto users = client::Client::parse_answer<model::UserList>(*body);
  if (!users) return fail(users.error());
  return print(users_text(*users));
}

}  // namespace ebb::cli
