#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/store/store.h"

namespace ebb::daemon {

/// "otk_" and 32 hex digits.
[[nodiscard]] std::string new_api_key();
/// What is stored of a key: a hash; keys are random, so that a fast one is enough.
[[nodiscard]] std::string hash_api_key(std::string_view key);
/// "user_" and the first 8 hex digits of SHA-256 of the name, as the original did.
[[nodiscard]] std::string user_id_of(std::string_view name);
/// Names that may be registered: [a-z_][a-z0-9_-]{0,31}.
[[nodiscard]] bool is_user_name(std::string_view name);

/// The users with keys, in memory as in the database; the caller commits what put() says.
class Users {
 public:
  [[nodiscard]] static Result<Users> load(const store::Store& store);

  /// The user whose current key this is.
  [[nodiscard]] const store::UserRow* by_key(std::string_view key) const;
  [[nodiscard]] const store::UserRow* by_name(std::string_view name) const;
  [[nodiscard]] std::vector<model::User> list() const;
  /// Adds or replaces; to be called when the row is durable.
  void put(const store::UserRow& row);

 private:
  std::unordered_map<std::string, store::UserRow> rows_;  // by name
  std::unordered_map<std::string, std::string> names_by_hash_;
};

}  // namespace ebb::daemon
