#include "daemon_impl.h"
#include "ebb/process/socket_owner.h"
#include "refusal.h"

#include <unistd.h>

namespace ebb::daemon {
namespace {

Result<void> admins_only(const Caller& caller) {
  if (caller.admin) return {};
  return refused(Errc::forbidden, "only an admin may do this", "admin-only");
}

Error no_such_user(const std::string& name) {
  return refused(Errc::not_found, "no user '" + name + "'; 'ebb user list' lists all", "no-such-user");
}

}  // namespace

Result<Caller> Daemon::caller_of_peer(std::shared_ptr<const process::PeerCredentials> peer) const {
  const uid_t own = ::geteuid();
  if (own != 0 && peer->uid != own && peer->uid != 0) {
    return refused(Errc::forbidden,
                   "this daemon belongs to " + process::user_name(own) + "; run your own: 'ebb serve &'",
                   "not-yours");
  }
  Caller caller;
  caller.user = process::user_name(peer->uid);
  caller.uid = peer->uid;
  caller.admin = peer->uid == 0 || peer->uid == own;
  caller.over_socket = true;
  if (const auto* user = impl_->users.by_name(caller.user); user != nullptr && !user->user.revoked_at) {
    caller.admin = caller.admin || user->user.admin;
  }
  caller.peer = std::move(peer);
  return caller;
}

Result<Caller> Daemon::caller_of_key(std::string_view key) const {
  const store::UserRow* row = impl_->users.by_key(key);
  if (row == nullptr || row->user.revoked_at) {
    return refused(Errc::unauthenticated, "this API key is not known here, or was revoked", "invalid-key");
  }
  Caller caller;
  caller.user = row->user.name;
  caller.admin = row->user.admin;
  caller.templates_only = row->user.templates_only;
  if (row->user.account) {
    if (auto account = account_of(*row->user.account)) caller.uid = account->uid;
  }
  return caller;
}

Caller Daemon::anonymous() const {
  Caller caller;
  caller.user = "anonymous";
  caller.templates_only = true;
  return caller;
}

Result<model::UserList> Daemon::users(const Caller& caller) const {
  if (auto allowed = admins_only(caller); !allowed) return std::move(allowed).error();
  return model::UserList{.items = impl_->users.list()};
}

namespace {

// A user's row with a new key; the key itself is only in the answer.
model::UserKey give_key(store::UserRow& row) {
  model::UserKey answer{.user = row.user, .api_key = new_api_key()};
  row.key_hash = hash_api_key(answer.api_key);
  return answer;
}

Result<store::UserRow> new_user(const Users& users, const model::UserRequest& request, WallTime now) {
  if (!is_user_name(request.name)) {
    return refused(Errc::invalid, "a user's name is a lower-case letter or _, then at most 31 of a-z 0-9 _ -",
                   "invalid-name", "/name");
  }
  if (users.by_name(request.name) != nullptr) {
    return refused(Errc::conflict, "Username '" + request.name + "' already exists", "user-exists", "/name");
  }
  if (request.account) {
    if (auto account = account_of(*request.account); !account) {
      return refused(Errc::invalid, account.error().message, "no-such-account", "/account");
    }
  }
  store::UserRow row;
  row.user.user_id = user_id_of(request.name);
  row.user.name = request.name;
  row.user.created_at = now;
  row.user.admin = request.admin.value_or(false);
  row.user.templates_only = request.templates_only.value_or(false);
  row.user.account = request.account;
  return row;
}

}  // namespace

Task<Result<void>> Daemon::Impl::put_user(store::UserRow row) {
  store::Batch batch;
  batch.push_back(store::write::PutUser{row});
  auto durable = co_await commit(std::move(batch));
  if (durable) users.put(row);
  co_return durable;
}

Task<Result<model::UserKey>> Daemon::add_user(Caller caller, model::UserRequest request) {
  if (auto allowed = admins_only(caller); !allowed) co_return std::move(allowed).error();
  auto row = new_user(impl_->users, request, impl_->context->clock.wall());
  if (!row) co_return std::move(row).error();
  model::UserKey answer = give_key(*row);
  if (auto durable = co_await impl_->put_user(*row); !durable) co_return std::move(durable).error();
  co_return answer;
}

Task<Result<model::UserKey>> Daemon::register_user(std::string name) {
  if (!impl_->context->config.server.registration) {
    co_return refused(Errc::forbidden, "Registration is closed; ask an admin: ebb user add NAME",
                      "registration-closed");
  }
  // Jobs belong to names, and over the socket that is the account's: nobody may register as somebody who is
  // here.
  if (account_of(name)) {
    co_return refused(Errc::conflict, "Username '" + name + "' already exists", "user-exists", "/name");
  }
  auto row = new_user(impl_->users, {.name = name, .admin = false, .templates_only = true, .account = {}},
                      impl_->context->clock.wall());
  if (!row) co_return std::move(row).error();
  model::UserKey answer = give_key(*row);
  if (auto durable = co_await impl_->put_user(*row); !durable) co_return std::move(durable).error();
  co_return answer;
}

Task<Result<model::UserKey>> Daemon::rotate_user(Caller caller, std::string name) {
  const store::UserRow* known = impl_->users.by_name(name);
  if (!caller.admin && caller.user != name)
    co_return refused(Errc::forbidden, "only an admin or the user may do this", "admin-only");
  if (known == nullptr) co_return no_such_user(name);
  if (known->user.revoked_at) {
    co_return refused(Errc::conflict, "the key of '" + name + "' was revoked; add the user under a new name",
                      "revoked");
  }
  store::UserRow row = *known;
  model::UserKey answer = give_key(row);
  if (auto durable = co_await impl_->put_user(row); !durable) co_return std::move(durable).error();
  co_return answer;
}

Task<Result<model::User>> Daemon::revoke_user(Caller caller, std::string name) {
  if (auto allowed = admins_only(caller); !allowed) co_return std::move(allowed).error();
  const store::UserRow* known = impl_->users.by_name(name);
  if (known == nullptr) co_return no_such_user(name);
  store::UserRow row = *known;
  row.key_hash.clear();
  if (!row.user.revoked_at) row.user.revoked_at = impl_->context->clock.wall();
  if (auto durable = co_await impl_->put_user(row); !durable) co_return std::move(durable).error();
  co_return row.user;
}

Task<Result<model::User>> Daemon::import_user(Caller caller, model::UserRequest request, std::string key) {
  if (auto allowed = admins_only(caller); !allowed) co_return std::move(allowed).error();
  // Another system's bob is not this machine's: jobs belong to names.
  if (account_of(request.name)) {
    co_return refused(Errc::conflict,
                      "'" + request.name + "' is an account of this machine, whose jobs would be theirs too",
                      "local-account", "/name");
  }
  auto row = new_user(impl_->users, request, impl_->context->clock.wall());
  if (!row) co_return std::move(row).error();
  if (key.size() < 16 || key.size() > 256) {
    co_return refused(Errc::invalid, "this is no API key that could be imported", "invalid-key", "/api_key");
  }
  row->key_hash = hash_api_key(key);
  if (auto durable = co_await impl_->put_user(*row); !durable) co_return std::move(durable).error();
  co_return row->user;
}

}  // namespace ebb::daemon
