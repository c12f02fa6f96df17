#include "users.h"

#include <sodium.h>

#include <algorithm>
#include <array>

#include "ebb/base/ids.h"

namespace ebb::daemon {
namespace {

std::string hex(const unsigned char* bytes, std::size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 0xf];
  }
  return text;
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

std::string new_api_key() { return "otk_" + random_hex(16); }

std::string hash_api_key(std::string_view key) {
  std::array<unsigned char, 32> hash{};
  crypto_generichash(hash.data(), hash.size(), bytes_of(key), key.size(), nullptr, 0);
  return hex(hash.data(), hash.size());
}

std::string user_id_of(std::string_view name) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256(hash.data(), bytes_of(name), name.size());
  return "user_" + hex(hash.data(), 4);
}

bool is_user_name(std::string_view name) {
  if (name.empty() || name.size() > 32) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
  const auto other = [](char c) { return (c >= '0' && c <= '9') || c == '-'; };
  return letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || other(c); });
}

Result<Users> Users::load(const store::Store& store) {
  auto rows = store.users();
  if (!rows) return std::move(rows).error();
  Users users;
  for (const store::UserRow& row : *rows) users.put(row);
  return users;
}

const store::UserRow* Users::by_key(std::string_view key) const {
  // Looked up by the hash: how long that takes tells nothing about the key.
  const auto name = names_by_hash_.find(hash_api_key(key));
  return name == names_by_hash_.end() ? nullptr : by_name(name->second);
}

const store::UserRow* Users::by_name(std::string_view name) const {
  const auto row = rows_.find(std::string(name));
  return row == rows_.end() ? nullptr : &row->second;
}

std::vector<model::User> Users::list() const {
  std::vector<model::User> users;
  for (const auto& [name, row] : rows_) users.push_back(row.user);
  std::sort(users.begin(), users.end(), [](const model::User& a, const model::User& b) {
    return std::tie(a.created_at, a.name) < std::tie(b.created_at, b.name);
  });
  return users;
}

void Users::put(const store::UserRow& row) {
  store::UserRow& known = rows_[row.user.name];
  if (!known.key_hash.empty()) names_by_hash_.erase(known.key_hash);
  known = row;
  if (!row.key_hash.empty()) names_by_hash_[row.key_hash] = row.user.name;
}

}  // namespace ebb::daemon
